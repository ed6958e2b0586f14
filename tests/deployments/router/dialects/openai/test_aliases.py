"""`/v1/aliases`, as a client sees it, and the requests that go by an alias."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.aliases import Aliases
from cluster.catalog.catalog import Catalog
from cluster.store.schema import Adapter
from cluster.tenancy.principal import Limits, Principal, Scope
from deployments.router.dialects.openai import aliases, models
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.serving import answering

DIGEST = "d" * 64
CHAT = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}]}
ALONE = {"name": "bot", "targets": [{"model": "budgie"}]}


@dataclass
class Part:
    """Of `deployments.router.services.Services`, what these routes use."""

    aliases: Aliases
    catalog: Catalog


def client(rig: Rig, *scopes: Scope) -> httpx.AsyncClient:
    tenant = rig.tenant
    who = Principal(
        tenant.organization_id,
        "default",
        tenant.project_id,
        "key-1",
        frozenset(scopes),
        Limits(),
        "",
    )
    part = Part(Aliases(rig.platform.database, rig.platform.redis), rig.catalog)
    app = answering(part, lambda _: who, aliases.router, models.router)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/v1")


@pytest.fixture
async def http(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with rig.platform.database.begin() as session:
        session.add(
            Adapter(
                id="adapter-1", organization_id=rig.tenant.organization_id,
                project_id=rig.tenant.project_id, name="new", base_model="budgie",
                digest=DIGEST, uri="u", bytes=1, rank=1, target_modules=[], state="published",
            )
        )  # fmt: skip
    async with client(rig, Scope.TRAIN) as made:
        yield made


async def test_from_canary_to_promotion_and_back(rig: Rig, http: httpx.AsyncClient) -> None:
    engine = await rig.add_engine(adapters=frozenset({engine_name("new", DIGEST)}))
    made = (await http.post("/aliases", json={**ALONE, "sticky": "user"})).json()
    assert (made["object"], made["version"], made["sticky"]) == ("alias", 1, "user")
    assert made["targets"] == [{"model": "budgie", "weight": 1.0}]
    assert (await rig.post(CHAT)).status == 200

    canary = [{"model": "budgie", "weight": 3}, {"model": "new", "weight": 1}]
    changed = (await http.post("/aliases/bot", json={"targets": canary})).json()
    assert changed["version"] == 2
    for number in range(40):
        for _ in range(2):
            assert (await rig.post({**CHAT, "user": f"user{number}"})).status == 200
    asked = [request["model"].partition("@")[0] for request in engine.requests[1:]]
    assert asked[::2] == asked[1::2], "a user's requests stay together"
    assert 1 <= asked.count("new") / 2 <= 24
    used = rig.meter.events[-1]
    assert (used.model, used.base_model) == ("bot", "budgie")

    promoted = (await http.post("/aliases/bot/promote", json={"model": "new"})).json()
    assert promoted["targets"] == [{"model": "new", "weight": 1.0}]
    assert (await rig.post(CHAT)).status == 200
    assert engine.requests[-1]["model"].startswith("new@")

    back = (await http.post("/aliases/bot/rollback")).json()
    assert (back["version"], back["targets"]) == (4, changed["targets"])
    versions = (await http.get("/aliases/bot/versions")).json()["data"]
    assert [version["restores"] for version in versions] == [2, None, None, None]
    assert {version["key_id"] for version in versions} == {"key-1"}

    assert (await http.get("/models/bot")).json()["id"] == "bot"
    assert "bot" in [model["id"] for model in (await http.get("/models")).json()["data"]]
    listed = (await http.get("/aliases")).json()["data"]
    assert listed == [(await http.get("/aliases/bot")).json()] == [back]
    assert (await http.delete("/aliases/bot")).json()["deleted"] is True
    assert (await rig.post(CHAT)).json["error"]["code"] == "model_not_found"
    assert (await http.get("/aliases/bot")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/aliases", {**ALONE, "name": "a b"}, 400, "name"),
        ("/aliases", {**ALONE, "name": "new"}, 409, "name"),
        ("/aliases", {**ALONE, "targets": []}, 400, "targets"),
        ("/aliases", {**ALONE, "targets": [{"model": "nobody"}]}, 404, "targets[0].model"),
        ("/aliases", {**ALONE, "targets": [{"model": "budgie", "weight": -1}]}, 400,
         "targets[0].weight"),
        ("/aliases", {**ALONE, "sticky": "always"}, 400, "sticky"),
        ("/aliases", {**ALONE, "colour": "red"}, 400, "colour"),
        ("/aliases/nobody", {"targets": [{"model": "budgie"}]}, 404, "name"),
        ("/aliases/nobody/promote", {"model": "budgie"}, 404, "name"),
        ("/aliases/nobody/rollback", {}, 404, "name"),
    ],
)  # fmt: skip
async def test_what_is_refused(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_who_may_only_ask_changes_nothing(rig: Rig, http: httpx.AsyncClient) -> None:
    await http.post("/aliases", json=ALONE)
    async with client(rig, Scope.INFERENCE) as other:
        assert (await other.get("/aliases/bot")).status_code == 200
        for answer in (
            await other.post("/aliases", json={**ALONE, "name": "other"}),
            await other.post("/aliases/bot", json={"targets": [{"model": "new"}]}),
            await other.post("/aliases/bot/promote", json={"model": "new"}),
            await other.post("/aliases/bot/rollback"),
            await other.delete("/aliases/bot"),
        ):
            assert answer.status_code == 403
    assert (await http.get("/aliases/bot")).json()["version"] == 1
