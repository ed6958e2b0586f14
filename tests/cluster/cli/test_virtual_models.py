"""`lorikeet virtual-models` against an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.cli.conftest import Endpoint, Run

KIND: dict[str, Any] = {
    "id": "vm-1", "name": "kind", "version": 2, "strategy": "weighted", "created_at": 0,
    "targets": [{"model": "ft:budgie:acme:bot:1", "weight": 3}, {"model": "budgie", "weight": 1}],
}  # fmt: skip
MISSING = (404, {"error": {"message": "There is none.", "code": "not_found", "param": "name"}})


def test_all_that_can_be_said_of_one(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/virtual_models/kind"] = MISSING
    endpoint.answers["POST /v1/virtual_models"] = (201, KIND)
    options = ["--strategy", "weighted", "--system", "Be kind.", "--first-token-timeout", "2.5"]
    presets = ["--default", "temperature=0.2", "--fix", "stop=END", "--fix", "n=1"]
    done = run("virtual-models", "set", "kind", "bot=3", "budgie", *options, *presets)
    assert (done.code, done.out) == (0, "kind version 2\n")
    assert endpoint.asked[-1].json() == {
        "name": "kind",
        "targets": [{"model": "bot", "weight": 3}, {"model": "budgie", "weight": 1}],
        "strategy": "weighted",
        "system_prompt": "Be kind.",
        "first_token_timeout": 2.5,
        "parameters": {"temperature": 0.2},
        "fixed": {"stop": "END", "n": 1},
    }


def test_what_is_not_said_stays(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["POST /v1/virtual_models/kind"] = (200, KIND)
    assert run("virtual-models", "set", "kind", "budgie", "--system", "").code == 0
    (asked,) = endpoint.asked
    assert asked.json() == {"targets": [{"model": "budgie", "weight": 1}], "system_prompt": None}


@pytest.mark.parametrize("words", [["kind"], ["kind", "a", "--fix", "n"], ["kind", "a=b"]])
def test_wrong_words_ask_nothing(endpoint: Endpoint, run: Run, words: list[str]) -> None:
    assert run("virtual-models", "set", *words).code == 2
    assert endpoint.asked == []


def test_they_are_listed_and_removed(endpoint: Endpoint, run: Run) -> None:
    page = {"object": "list", "data": [KIND], "has_more": False}
    endpoint.answers["GET /v1/virtual_models"] = (200, page)
    assert "ft:budgie:acme:bot:1=3, budgie=1" in run("virtual-models", "list").out
    gone = {"id": "kind", "deleted": True}
    endpoint.answers["DELETE /v1/virtual_models/kind"] = (200, gone)
    assert run("virtual-models", "remove", "kind").out == "Removed kind.\n"
