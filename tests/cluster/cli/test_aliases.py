"""`lorikeet aliases` against an endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.cli.conftest import Endpoint, Run

BOT: dict[str, Any] = {
    "id": "alias-1", "name": "bot", "version": 2, "sticky": "user", "created_at": 0,
    "targets": [{"model": "ft:budgie:acme:bot:1", "weight": 3}, {"model": "budgie", "weight": 1}],
}  # fmt: skip
MISSING = (404, {"error": {"message": "There is no alias.", "code": "not_found", "param": "name"}})


def test_one_that_is_there_is_changed(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/aliases/bot"] = (200, BOT)
    done = run("aliases", "set", "bot", "ft:budgie:acme:bot:1=3", "budgie")
    assert (done.code, done.out) == (0, "bot version 2\n")
    (asked,) = endpoint.asked
    assert asked.json() == {"targets": BOT["targets"]}


def test_one_that_is_not_is_made(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/aliases/bot"] = MISSING
    endpoint.answers["POST /v1/aliases"] = (201, {**BOT, "version": 1})
    done = run("aliases", "set", "bot", "budgie", "--sticky", "key")
    assert (done.code, done.out) == (0, "bot version 1\n")
    expected = {"name": "bot", "targets": [{"model": "budgie", "weight": 1}], "sticky": "key"}
    assert endpoint.asked[-1].json() == expected


def test_a_refusal_is_told_and_makes_nothing(endpoint: Endpoint, run: Run) -> None:
    error = {"message": "No 'x'.", "code": "model_not_found", "param": "targets[0].model"}
    endpoint.answers["POST /v1/aliases/bot"] = (404, {"error": error})
    done = run("aliases", "set", "bot", "x")
    assert (done.code, len(endpoint.asked)) == (1, 1)
    assert "No 'x'." in done.err


@pytest.mark.parametrize("words", [["bot", "a=b"], ["bot"], ["bot", "a", "--sticky", "x"]])
def test_wrong_words_ask_nothing(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    assert run("aliases", "set", *words).code == 2
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["promote", "bot", "budgie"], "POST /v1/aliases/bot/promote", {"model": "budgie"}),
        (["rollback", "bot"], "POST /v1/aliases/bot/rollback", {}),
        (["rollback", "bot", "--version", "1"], "POST /v1/aliases/bot/rollback", {"version": 1}),
    ],
)
def test_one_call_each(
    endpoint: Endpoint, run: Run, words: list[str], path: str, body: dict[str, Any]
) -> None:
    endpoint.answers[path] = (200, BOT)
    assert run("aliases", *words).out == "bot version 2\n"
    assert endpoint.asked[0].json() == body


def test_lists_show_the_shares(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/aliases"] = (200, {"data": [BOT], "has_more": False})
    version = {**BOT, "restores": None, "key_id": "key-1"}
    endpoint.answers["GET /v1/aliases/bot/versions"] = (200, {"data": [version]})
    shares = "ft:budgie:acme:bot:1 75%, budgie 25%"
    assert shares in run("aliases", "list").out
    told = run("aliases", "versions", "bot").out
    assert shares in told
    assert "key-1" in told
    assert json.loads(run("aliases", "list", "--json").out) == [BOT]


def test_removing(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["DELETE /v1/aliases/bot"] = (200, {"id": "bot", "deleted": True})
    assert run("aliases", "remove", "bot").out == "Removed bot.\n"
