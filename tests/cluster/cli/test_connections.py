"""`lorikeet connections` against an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.cli.conftest import Endpoint, Run

ROW: dict[str, Any] = {
    "id": "conn-1", "name": "acme", "protocol": "openai", "base_url": "https://api.acme.test/v1",
    "models": ["m-1"], "has_secret": True, "enabled": True, "created_at": 0, "headers": [],
}  # fmt: skip


def test_the_key_comes_by_a_pipe(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/connections"] = (201, ROW)
    words = ("--base-url", "https://api.acme.test/v1", "--model", "m-1", "--header", "a=b=c")
    done = run("connections", "add", "acme", *words, "--timeout", "9", stdin="sk-1\n")
    assert (done.code, done.out) == (0, "acme: its models answer as acme/MODEL\n")
    assert endpoint.asked[0].json() == {
        "name": "acme", "protocol": "openai", "base_url": "https://api.acme.test/v1",
        "models": ["m-1"], "headers": {"a": "b=c"}, "timeout": 9.0, "secret": "sk-1",
    }  # fmt: skip


def test_one_without_a_key(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/connections"] = (201, ROW)
    assert run("connections", "add", "acme", "--protocol", "anthropic", "--no-key").code == 0
    assert endpoint.asked[0].json() == {"name": "acme", "protocol": "anthropic"}


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["set", "acme", "--any-model"], "POST /v1/connections/acme", {"models": []}),
        (["set", "acme", "--model", "b"], "POST /v1/connections/acme", {"models": ["b"]}),
        (["enable", "acme"], "POST /v1/connections/acme", {"enabled": True}),
        (["disable", "acme"], "POST /v1/connections/acme", {"enabled": False}),
        (["rotate", "acme"], "POST /v1/connections/acme/secret",
         {"secret": "sk-2", "verify": True}),
        (["rotate", "acme", "--no-test"], "POST /v1/connections/acme/secret",
         {"secret": "sk-2", "verify": False}),
    ],
)  # fmt: skip
def test_one_call_each(
    endpoint: Endpoint, run: Run, words: list[str], path: str, body: dict[str, Any]
) -> None:
    endpoint.answers[path] = (200, ROW)
    assert run("connections", *words, stdin="sk-2\n").code == 0
    assert endpoint.asked[0].json() == body


def test_lists_and_one(endpoint: Endpoint, run: Run) -> None:
    rows = [ROW, {**ROW, "name": "b", "enabled": False}, {**ROW, "models": [], "has_secret": False}]
    endpoint.answers["GET /v1/connections"] = (200, {"data": rows, "has_more": False})
    endpoint.answers["GET /v1/connections/acme"] = (200, ROW)
    _, first, second, third = run("connections", "list").out.splitlines()
    assert ("m-1" in first, "ready" in first) == (True, True)
    assert "disabled" in second
    assert ("any" in third, "without a key" in third) == (True, True)
    assert "https://api.acme.test/v1" in run("connections", "show", "acme").out


def test_a_test_that_fails_is_a_failure(endpoint: Endpoint, run: Run) -> None:
    tested = {"name": "acme", "ok": True, "latency_ms": 12.3, "models": ["a"],
              "unknown_models": ["m-1"], "error": None}  # fmt: skip
    failed = {**tested, "ok": False, "models": None, "unknown_models": [],
              "error": {"message": "It refused the key.", "code": "upstream_x"}}  # fmt: skip
    endpoint.answers["POST /v1/connections/acme/test"] = [(200, tested), (200, failed)]
    done = run("connections", "test", "acme")
    assert (done.code, done.out) == (
        0, "acme answers after 12 ms and offers 1 models.\nacme does not offer m-1.\n",
    )  # fmt: skip
    done = run("connections", "test", "acme")
    assert (done.code, done.out) == (1, "")
    assert "It refused the key." in done.err


@pytest.mark.parametrize("words", [["add", "acme", "--header", "a"], ["add"], ["remove"]])
def test_wrong_words_ask_nothing(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    assert run("connections", *words, stdin="").code == 2
    assert endpoint.asked == []


def test_removing(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["DELETE /v1/connections/acme"] = (200, {"id": "acme", "deleted": True})
    assert run("connections", "remove", "acme").out == "Removed acme.\n"
