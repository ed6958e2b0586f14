"""One question, a pipe, a conversation; and answers that break off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Broken, Endpoint, Run

PATH = "POST /v1/chat/completions"


def stream(*words: str, finish: str = "stop") -> str:
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": word}}]} for word in words]
    events.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    events.append({"choices": [], "usage": {}})
    return "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"


def test_one_question(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[PATH] = (200, stream("Hel", "lo"))
    found = run("chat", "budgie", "Hi", "--system", "Be kind.", "-t", "0", "--max-tokens", "5")
    assert (found.code, found.out, found.err) == (0, "Hello\n", "")
    assert endpoint.asked[0].json() == {
        "model": "budgie",
        "temperature": 0,
        "max_tokens": 5,
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
        ],
    }


@pytest.mark.parametrize("words", [["budgie"], ["budgie", "-"], ["-m", "budgie"]])
def test_a_pipe_is_one_question(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    endpoint.answers[PATH] = (200, stream("Yes"))
    assert run("chat", *words, stdin="two\nlines\n").out == "Yes\n"
    assert endpoint.asked[0].json()["messages"] == [{"role": "user", "content": "two\nlines"}]


def test_an_empty_pipe_asks_nothing(endpoint: Endpoint, run: Run) -> None:
    found = run("chat", "budgie", stdin=" \n")
    assert found.code == 1
    assert found.err == "lorikeet: There is no question: the standard input is empty.\n"
    assert endpoint.asked == []


def test_the_model_may_be_an_option(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[PATH] = (200, stream("Yes"))
    assert run("chat", "-m", "acme/birds:1", "Hi").code == 0
    asked = endpoint.asked[0].json()
    assert (asked["model"], asked["messages"][0]["content"]) == ("acme/birds:1", "Hi")
    assert run("chat", "budgie", "Hi", "-m", "other").code == 2
    assert run("chat").code == 2


def test_json_is_the_whole_answer(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[PATH] = (200, {"choices": []})
    assert run("chat", "budgie", "Hi", "--json").json() == {"choices": []}
    assert "stream" not in endpoint.asked[0].json()
    assert run("chat", "budgie", "--json").code == 2


def test_an_answer_that_was_cut_says_so(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[PATH] = (200, stream("Once", finish="length"))
    found = run("chat", "budgie", "Hi")
    assert (found.code, found.out) == (0, "Once\n")
    assert found.err.startswith("The answer was cut")


def test_what_a_terminal_would_obey_is_not_shown(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[PATH] = (200, stream("a\x1b[2J\x9b2Jb", "[red]:rocket:"))
    assert run("chat", "budgie", "Hi").out == "a[2J2Jb[red]:rocket:\n"


BEGUN = 'data: {"choices": [{"delta": {"content": "One"}}]}\n\n'


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (BEGUN, "The answer broke off."),
        (Broken(BEGUN), "The connection to"),
        (BEGUN + 'data: {"error": {"message": "Gone."}}\n\n', "Gone."),
        (BEGUN + "data: {oops\n\n", "The endpoint answers, but not with a chat stream."),
        (BEGUN + "data: 7\n\n", "The endpoint answers, but not with a chat stream."),
        (BEGUN + 'data: {"choices": [{}]}\n\n', "The endpoint answers, but not with"),
    ],
)
def test_an_answer_that_breaks_off(endpoint: Endpoint, run: Run, sent: str, told: str) -> None:
    endpoint.answers[PATH] = (200, sent)
    found = run("chat", "budgie", "Hi")
    assert (found.code, found.out) == (1, "One\n")
    assert found.err.startswith(f"lorikeet: {told}")
    assert found.err.count("\n") == 1


def test_a_conversation_remembers_what_was_answered(
    endpoint: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["One", "", "Two", "Three"])

    def ask(_prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", ask)
    endpoint.answers[PATH] = [(200, stream("Yes")), (200, Broken(BEGUN)), (200, stream("No"))]
    found = run("chat", "budgie")
    assert found.code == 0
    assert "lorikeet: The connection to" in found.err
    contents = [m["content"] for m in endpoint.asked[2].json()["messages"]]
    assert contents == ["One", "Yes", "Three"]
