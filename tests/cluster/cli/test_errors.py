"""However it goes wrong: one clear line, the right exit code, and JSON where that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.cli import connection
from cluster.embedded.ports import listen

from .conftest import Broken, Endpoint, Run

ERRORS = [
    (401, "invalid_api_key"),
    (404, "model_not_found"),
    (409, "invalid_job_state"),
    (429, "rate_limit_exceeded"),
    (500, "internal_error"),
    (503, "service_unavailable"),
]


@pytest.mark.parametrize(("status", "code"), ERRORS)
def test_the_endpoints_own_words(endpoint: Endpoint, run: Run, status: int, code: str) -> None:
    error = {"message": "No,\nnot now.", "code": code, "param": "model"}
    endpoint.answers["GET /v1/models"] = (status, {"error": error})
    found = run("models", "list")
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("lorikeet: No, not now.")
    assert found.err.count("\n") == 1
    found = run("models", "list", "--json")
    assert (found.code, found.out) == (1, "")
    told = json.loads(found.err)["error"]
    assert (told["code"], told["param"]) == (code, "model")


def test_a_refused_key_says_where_it_is_from(
    endpoint: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.answers["GET /v1/models"] = (401, {"error": {"message": "Wrong key."}})
    assert run("models", "list").err == (
        "lorikeet: Wrong key. (The key comes from LORIKEET_API_KEY.)\n"
    )
    assert "(The key comes from --key.)" in run("models", "list", "--key", "sk-other").err
    monkeypatch.delenv("LORIKEET_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "(The key comes from nowhere: give one" in run("models", "list").err


@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (502, "upstream", "502 Bad Gateway upstream"),
        (502, {"detail": "Not Found"}, '502 Bad Gateway {"detail": "Not Found"}'),
        (500, {"error": "Broken."}, "Broken."),
        (302, "", "302 Found"),
        (200, "<html>", "{url}/v1/models answers, but not as Lorikeet does."),
        (200, [], "{url}/v1/models answers, but not as Lorikeet does."),
        (200, {"models": []}, "The endpoint answers, but not as Lorikeet does: no 'data'."),
        (200, {"data": 7}, "{url}/v1/models answers, but not with a list."),
        (200, {"data": [7]}, "{url}/v1/models answers, but not with a list."),
    ],
)
def test_an_answer_of_something_else(
    endpoint: Endpoint, run: Run, status: int, content: Any, told: str
) -> None:
    endpoint.answers["GET /v1/models"] = (status, content)
    found = run("models", "list")
    assert (found.code, found.out) == (1, "")
    assert found.err == f"lorikeet: {told.replace('{url}', endpoint.url)}\n"


def test_a_connection_that_breaks(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/models"] = (200, Broken('{"data": ['))
    found = run("models", "list")
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith(f"lorikeet: The connection to {endpoint.url} failed: ")
    assert found.err.count("\n") == 1


def test_an_endpoint_that_hangs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.05)
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = run("models", "list", "--url", url)
    assert (found.code, found.err) == (1, f"lorikeet: {url} does not answer in time.\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--url", "http://127.0.0.1:9"], "Nothing answers at http://127.0.0.1:9: "),
        (["--url", "localhost:8000"], "The address must begin with http:// or https://"),
        (["--url", "http://"], "The address http:// names no host."),
        (["--url", "http://h:port"], "http://h:port is not an address: "),
        (["--key", "two words"], "The key from --key is not an API key."),
        (["--key", "\u043a\u043b\u044e\u0447"], "The key from --key is not an API key."),
    ],
)
def test_an_address_or_a_key_that_is_none(
    endpoint: Endpoint, run: Run, words: list[str], told: str
) -> None:
    found = run("models", "list", *words)
    assert found.code == 1
    assert found.err.startswith(f"lorikeet: {told}")
    assert found.err.count("\n") == 1
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["models", "show"],
        ["models", "list", "--nothing"],
        ["up", "--port", "x"],
        ["files", "list", "--limit", "0"],
        ["keys", "create", "--name", "x", "--expires", "soon"],
    ],
)
def test_wrong_usage_is_2_and_says_where_help_is(run: Run, words: list[str]) -> None:
    found = run(*words)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("lorikeet: ")
    assert found.err.endswith("--help`.\n")
    assert found.err.count("\n") == 1
    found = run(*words, "--json")
    assert (found.code, found.out) == (2, "")
    assert json.loads(found.err)["error"]["code"] == "usage"


def test_no_word_at_all_is_help(run: Run) -> None:
    found = run()
    assert (found.code, found.err) == (2, "")
    assert "Usage: lorikeet" in found.out


def test_a_name_that_is_no_text(endpoint: Endpoint, run: Run) -> None:
    found = run("models", "show", "\udcff")
    assert found.code == 1
    assert found.err.startswith("lorikeet: What was given is not UTF-8 text")


def test_ctrl_c_is_130(endpoint: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("httpx.Client.stream", interrupted)
    found = run("models", "list")
    assert (found.code, found.out, found.err) == (130, "", "")
