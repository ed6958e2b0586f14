"""`/v1/virtual_models`, as a client sees it, and the requests that go by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster.catalog.catalog import Catalog
from cluster.catalog.virtual_models import VirtualModels
from cluster.errors import Unavailable
from cluster.tenancy.principal import Limits, Principal, Scope
from deployments.router.dialects.openai import models, virtual_models
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.serving import answering

CHAT = {"model": "kind", "messages": [{"role": "user", "content": "Hello"}]}
KIND: dict[str, Any] = {
    "name": "kind",
    "targets": [{"model": "budgie"}],
    "parameters": {"max_tokens": 7},
    "fixed": {"n": 2},
    "system_prompt": "Be kind.",
}


@dataclass
class Part:
    """Of `deployments.router.services.Services`, what these routes use."""

    virtual_models: VirtualModels
    catalog: Catalog


def client(rig: Rig, *scopes: Scope) -> httpx.AsyncClient:
    tenant = rig.tenant
    who = Principal(
        tenant.organization_id, "default", tenant.project_id, "key-1", frozenset(scopes), Limits(),
        "",
    )  # fmt: skip
    part = Part(VirtualModels(rig.platform.database, rig.platform.redis), rig.catalog)
    app = answering(part, lambda _: who, virtual_models.router, models.router)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/v1")


@pytest.fixture
async def http(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with client(rig, Scope.TRAIN) as made:
        yield made


async def test_requests_get_what_it_adds(rig: Rig, http: httpx.AsyncClient) -> None:
    engine = await rig.add_engine()
    made = await http.post("/virtual_models", json=KIND)
    assert made.status_code == 201
    shown = {"version": 1, "strategy": "fallback", "first_token_timeout": None}
    assert shown.items() <= made.json().items()
    assert (await rig.post(CHAT)).status == 200
    asked = engine.requests[0]
    assert (asked["model"], asked["max_tokens"], asked["n"]) == ("budgie", 7, 2)
    assert asked["messages"] == [{"role": "system", "content": "Be kind."}, *CHAT["messages"]]
    assert (await rig.post({**CHAT, "max_tokens": 3, "n": 1})).status == 200
    assert (engine.requests[1]["max_tokens"], engine.requests[1]["n"]) == (3, 2)

    changed = await http.post("/virtual_models/kind", json={"system_prompt": None})
    assert (changed.json()["version"], changed.json()["fixed"]) == (2, {"n": 2})
    assert (await rig.post(CHAT)).status == 200
    assert engine.requests[2]["messages"] == CHAT["messages"]
    lines = (await http.get("/models")).json()["data"]
    assert [line["id"] for line in lines] == ["budgie", "kind"]

    gone = await http.delete("/virtual_models/kind")
    assert gone.json() == {"id": "kind", "object": "virtual_model", "deleted": True}
    assert (await rig.post(CHAT)).status == 404


async def test_what_it_adds_is_reserved_for(rig: Rig, http: httpx.AsyncClient) -> None:
    """Its `n` is checked and counted like the caller's own."""
    await rig.add_engine()
    await http.post("/virtual_models", json={**KIND, "parameters": {}, "fixed": {"n": 128}})
    assert (await rig.post(CHAT)).status == 200
    refused = await http.post("/virtual_models/kind", json={"fixed": {"n": 129}})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "fixed.n"


async def test_a_prompt_has_no_place_in_a_text_completion(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    await rig.add_engine()
    await http.post("/virtual_models", json=KIND)
    refused = await rig.post({"model": "kind", "prompt": "Hello"}, "/v1/completions")
    assert (refused.status, refused.json["error"]["code"]) == (400, "unsupported_endpoint")
    counted = await rig.post({"model": "kind", "prompt": "Hello"}, "/tokenize")
    assert counted.status == 200


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"targets": []}, "targets"),
        ({"targets": [{"model": "nope"}]}, "targets[0].model"),
        ({"targets": [{"model": "budgie", "weight": -1}]}, "targets[0].weight"),
        ({"strategy": "random"}, "strategy"),
        ({"parameters": {"temperature": "hot"}}, "parameters.temperature"),
        ({"parameters": {"messages": []}}, "parameters"),
        ({"fixed": {"stream": True}}, "fixed"),
        ({"fixed": {f"x{number}": 1 for number in range(65)}}, "fixed"),
        ({"first_token_timeout": 0}, "first_token_timeout"),
        ({"fallbacks": []}, "fallbacks"),
        ({"name": "a/b"}, "name"),
    ],
)
async def test_what_can_not_be_is_refused_by_name(
    http: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    refused = await http.post("/virtual_models", json={**KIND, **change})
    assert refused.status_code in (400, 404)
    assert refused.json()["error"]["param"] == param


async def test_who_only_asks_changes_nothing_and_sees_no_prompt(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    await http.post("/virtual_models", json=KIND)
    async with client(rig, Scope.INFERENCE) as asking:
        assert (await asking.post("/virtual_models", json=KIND)).status_code == 403
        for path in ("/virtual_models", "/virtual_models/kind"):
            refused = await asking.get(path)
            assert refused.status_code == 403
            assert "Be kind." not in refused.text
    for scope in (Scope.READ, Scope.TRAIN, Scope.ADMIN):
        async with client(rig, scope) as reading:
            assert (await reading.get("/virtual_models/kind")).json()["name"] == "kind"


async def test_a_change_that_is_made_is_told_though_sql_goes_away(
    rig: Rig, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(rig.catalog, "_read", away)
        assert (await http.post("/virtual_models", json=KIND)).status_code == 201
    assert (await http.get("/virtual_models/kind")).json()["version"] == 1
    with monkeypatch.context() as patched:
        patched.setattr(rig.catalog, "_read", away)
        assert (await http.delete("/virtual_models/kind")).json()["deleted"] is True
