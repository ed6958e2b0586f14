"""Clients of other people, unchanged: each is a script that says what it saw."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.tenancy.principal import Scope
from tests.clients import installed
from tests.product.product import Product, ask, wait_for
from tests.product.tenants import new_key

CLASSES = {
    "key": ("AuthenticationError", 401),
    "model": ("NotFoundError", 404),
    "field": ("BadRequestError", 400),
    "limit": ("RateLimitError", 429),
}


def run(product: Product, *command: str | Path, folder: Path) -> dict[str, Any]:
    """What the script saw of the product."""
    inherited = dict(os.environ)
    # These packages are so many that to compile them at each start takes longer than all the rest.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=120,
        env={
            **inherited,
            "BASE_URL": f"{product.url}/v1",
            "API_KEY": new_key(product, [Scope.INFERENCE, Scope.TRAIN, Scope.READ]),
            "LIMITED_KEY": new_key(product, [Scope.INFERENCE], {"requests_per_minute": 0}),
            "NO_PROXY": "127.0.0.1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def check(product: Product, seen: dict[str, Any]) -> None:
    """What is the same of every client of OpenAI's API."""
    text = ask(product.openai(), "budgie", "Count from 1 to 9.")
    assert seen["chat"]["text"] == seen["stream"]["text"] == text
    assert seen["stream"]["usage"]["total_tokens"] == seen["chat"]["usage"]["total_tokens"] > 9
    assert seen["parsed"]["name"]
    assert isinstance(seen["parsed"]["age"], int)
    assert seen["many"] == {"choices": 2, "top": 2}
    assert 3 <= seen["pieces"] < 100, "of 1900"
    wait_for(lambda: product.replica()["running"] == 0, "the abandoned stream to stop", 30)
    for name, told in CLASSES.items():
        error = seen["errors"][name]
        assert (error["class"], error["status"]) == told


@pytest.fixture(scope="module")
def vectors(product: Product) -> list[list[float]]:
    made = product.openai().embeddings.create(model="all-MiniLM-L6-v2", input=["one", "two"])
    return [item.embedding for item in made.data]


def test_langchain(product: Product, vectors: list[list[float]]) -> None:
    seen = run(product, installed.python(), "langchain_client.py", folder=installed.CLIENTS)
    check(product, seen)
    for kind, name, parameter in (
        ("auto", "get_weather", "city"),
        ("forced", "get_order", "order_id"),
        ("streamed", "get_weather", "city"),
    ):
        (call,) = seen["tools"][kind]
        assert call["name"] == name
        assert isinstance(call["args"][parameter], str)
    assert len(seen["bound"]) == 3
    assert set(seen["bound"]) <= set("ab")
    assert seen["legacy"]
    for found, vector in zip(seen["embedded"], vectors, strict=True):
        assert found == pytest.approx(vector, abs=0.02)
    assert seen["errors"]["field"]["param"] == "temperature"
    assert seen["errors"]["model"]["code"] == "model_not_found"


def test_litellm(product: Product, vectors: list[list[float]]) -> None:
    seen = run(product, installed.python(), "litellm_client.py", folder=installed.CLIENTS)
    check(product, seen)
    (auto,), (forced,), (streamed,) = (seen["tools"][k] for k in ("auto", "forced", "streamed"))
    assert auto == streamed
    assert (auto["name"], forced["name"]) == ("get_weather", "get_order")
    assert isinstance(forced["args"]["order_id"], str)
    assert seen["bound"] in ("left", "right")
    assert seen["legacy"].startswith("One two")
    assert seen["anthropic"] == seen["chat"]["text"]
    for found, vector in zip(seen["embedded"], vectors, strict=True):
        assert found == pytest.approx(vector, abs=0.02)


def test_openais_sdk_for_node(product: Product, vectors: list[list[float]]) -> None:
    folder = installed.node()
    if isinstance(folder, str):
        pytest.skip(folder)
    seen = run(product, "node", "client.mjs", folder=folder)
    check(product, seen)
    (auto,), (forced,), (streamed,) = (seen["tools"][k] for k in ("auto", "forced", "streamed"))
    assert seen["tools"]["auto_finish"] == "tool_calls"
    assert json.loads(auto["function"]["arguments"]).keys() == {"city"}
    assert streamed["function"]["arguments"] == auto["function"]["arguments"]
    assert forced["function"]["name"] == "get_order"
    assert isinstance(json.loads(forced["function"]["arguments"])["order_id"], str)
    assert seen["bound"] in ("left", "right")
    assert [text[:7] for text in seen["legacy"]] == ["One two", "Red blu"]
    for kind in ("base64", "float"):
        for found, vector in zip(seen["embedded"][kind], vectors, strict=True):
            assert found == pytest.approx(vector, abs=0.02)
    assert {"budgie", "sentence-transformers/all-MiniLM-L6-v2"} <= set(seen["models"])
    assert seen["files"] == {"listed": True, "content": True, "deleted": True}
    assert seen["jobs"]
    assert seen["errors"]["key"]["code"] == "invalid_api_key"
    assert seen["errors"]["model"]["param"] == "model"
    assert seen["errors"]["field"]["param"] == "temperature"
    assert seen["errors"]["limit"]["type"] == "rate_limit_error"
