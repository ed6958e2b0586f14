"""Adapters that come by HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import Request
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.base_models import BaseModels
from cluster.catalog.pins import Pins
from cluster.catalog.replicas import Replica
from cluster.tenancy.principal import Principal, Scope
from deployments.router.dialects.openai import adapters
from tests.cluster.catalog.conftest import BASE, AdapterMaker
from tests.cluster.jobs.world import World
from tests.deployments.router.dialects.openai.serving import answering

POOL: dict[str, list[Replica]] = {}
FIELDS = {"name": "bot", "base_model": "budgie"}


@pytest.fixture
def make_adapter(tmp_path: Path) -> AdapterMaker:
    return AdapterMaker(tmp_path)


@pytest.fixture
async def http(world: World, redis: Redis) -> AsyncIterator[httpx.AsyncClient]:
    """`x-scope: inference` makes a caller who may not train."""
    await BaseModels(world.database).register(replace(BASE, places=8))
    settings = world.settings.model_copy(update={"upload_max_bytes": 1 << 20})
    registry = AdapterRegistry(world.database, world.artifacts, redis)
    services = SimpleNamespace(
        platform=SimpleNamespace(settings=settings, registry=registry),
        pins=Pins(world.database, redis, most=1),
        uses=AdapterUses(redis),
        pool=SimpleNamespace(models=POOL),
    )

    def caller(request: Request) -> Principal:
        scopes = frozenset({Scope(request.headers.get("x-scope", "train"))})
        return replace(world.ann, scopes=scopes)

    app = answering(services, caller, adapters.router)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        yield client


def parts(folder: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]


async def test_it_is_stored_and_listed(
    http: httpx.AsyncClient, world: World, make_adapter: AdapterMaker
) -> None:
    folder = make_adapter()
    (folder / "README.md").write_text("# bot")
    answer = await http.post("/v1/adapters", data=FIELDS, files=parts(folder))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["state"], made["rank"]) == ("bot", "publishing", 4)
    (stored,) = Path(world.artifacts.path("adapters")).glob("*/*")
    assert {p.name: p.read_bytes() for p in stored.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }
    again = await http.post("/v1/adapters", data=FIELDS, files=parts(folder))
    assert again.json()["id"] == made["id"]
    assert [row["id"] for row in (await http.get("/v1/adapters")).json()["data"]] == [made["id"]]


async def test_they_are_listed_in_pages(
    http: httpx.AsyncClient, make_adapter: AdapterMaker
) -> None:
    made = []
    files = parts(make_adapter())
    for name in ("a", "b", "c"):
        answer = await http.post("/v1/adapters", data={**FIELDS, "name": name}, files=files)
        made.append(answer.json()["id"])
    first = (await http.get("/v1/adapters?limit=2")).json()
    assert [row["id"] for row in first["data"]] == made[:2]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (*made[:2], True)
    rest = (await http.get(f"/v1/adapters?limit=2&after={made[1]}")).json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (made[2:], False)
    newest = (await http.get("/v1/adapters?order=desc&limit=1")).json()
    assert newest["last_id"] == made[2]
    for query in ("limit=0", "limit=10001", "after=nope"):
        answer = await http.get(f"/v1/adapters?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("data", "extra", "status", "param"),
    [
        ({"name": "bot"}, {}, 400, "base_model"),
        ({"base_model": "budgie"}, {}, 400, "name"),
        ({**FIELDS, "color": "red"}, {}, 400, "color"),
        (FIELDS, {"../up": b"x"}, 400, "files"),
        (FIELDS, {"README.md": b"x" * (2 << 20)}, 413, "files"),
        ({**FIELDS, "base_model": "nope"}, {}, 404, "base_model"),
    ],
)
async def test_what_is_taken_and_what_is_not(
    http: httpx.AsyncClient, make_adapter: AdapterMaker,
    data: dict[str, str], extra: dict[str, bytes], status: int, param: str,
) -> None:  # fmt: skip
    files = parts(make_adapter()) + [("files", one) for one in extra.items()]
    answer = await http.post("/v1/adapters", data=data, files=files)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


async def test_pickles_beside_the_weights_are_left_out(
    http: httpx.AsyncClient, world: World, make_adapter: AdapterMaker
) -> None:
    files = [("files", ("pytorch.bin", b"x")), *parts(make_adapter())]
    assert (await http.post("/v1/adapters", data=FIELDS, files=files)).status_code == 201
    stored = Path(world.artifacts.path("adapters")).glob("*/*/*")
    assert {path.name for path in stored} == {"adapter_config.json", "adapter_model.safetensors"}


async def test_pickles_and_nothing_at_all(http: httpx.AsyncClient) -> None:
    files = [("files", ("adapter_model.bin", b"x")), ("files", ("adapter_config.json", b"{}"))]
    answer = await http.post("/v1/adapters", data=FIELDS, files=files)
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("unsafe_weights", "files")
    named = {name: (None, value) for name, value in FIELDS.items()}
    answer = await http.post("/v1/adapters", files=named)
    assert answer.json()["error"]["param"] == "files"
    assert (await http.post("/v1/adapters", json=FIELDS)).status_code == 400


async def test_who_may_not_train_is_not_read(http: httpx.AsyncClient) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x"

    headers = {"x-scope": "inference", "content-type": "multipart/form-data; boundary=x"}
    answer = await http.post("/v1/adapters", content=body(), headers=headers)
    assert (answer.status_code, read) == (403, [])


async def test_one_is_pinned_and_listed_with_where_it_is(
    http: httpx.AsyncClient,
    world: World,
    redis: Redis,
    make_adapter: AdapterMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = parts(make_adapter())
    for name in ("acme/bot:1", "b"):
        made = (await http.post("/v1/adapters", data={**FIELDS, "name": name}, files=files)).json()
    digest = made["digest"]
    changed = await http.post("/v1/adapters/acme/bot:1", json={"pinned": True})
    assert (changed.status_code, changed.json()["pinned"]) == (200, True)
    refused = await http.post("/v1/adapters/b", json={"pinned": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "too_many_pinned")
    held = frozenset({engine_name("b", digest)})
    monkeypatch.setitem(POOL, "budgie", [
        Replica("budgie", name, "here", 1, "a", "/s", adapters=adapters)
        for name, adapters in (("r1", held), ("r2", frozenset()))
    ])  # fmt: skip
    await AdapterUses(redis).tell("budgie", {engine_name("b", digest): 1_700_000_000.5})
    rows = (await http.get("/v1/adapters")).json()["data"]
    told = [(r["name"], r["pinned"], r["resident_on"], r["last_used_at"]) for r in rows]
    assert told == [("acme/bot:1", True, 0, None), ("b", False, 1, 1_700_000_000)]
    await http.post("/v1/adapters/acme/bot:1", json={"pinned": False})
    assert (await http.post("/v1/adapters/b", json={"pinned": True})).json()["resident_on"] == 1


@pytest.mark.parametrize(
    ("name", "body", "scope", "status", "param"),
    [
        ("nope", {"pinned": True}, "train", 404, "name"),
        ("nope", {"pinned": "maybe"}, "train", 400, "pinned"),
        ("nope", {}, "train", 400, "pinned"),
        ("nope", {"pinned": True, "color": 1}, "train", 400, "color"),
        ("nope", {"pinned": True}, "inference", 403, None),
    ],
)
async def test_wrong_pins_are_refused(
    http: httpx.AsyncClient,
    name: str, body: dict[str, object], scope: str, status: int, param: str | None,
) -> None:  # fmt: skip
    answer = await http.post(f"/v1/adapters/{name}", json=body, headers={"x-scope": scope})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_without_redis_a_list_lacks_the_last_uses_only(
    http: httpx.AsyncClient, make_adapter: AdapterMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await http.post("/v1/adapters", data=FIELDS, files=parts(make_adapter()))

    async def away(*_: object) -> None:
        raise RedisError("away")

    monkeypatch.setattr(AdapterUses, "last", away)
    (row,) = (await http.get("/v1/adapters")).json()["data"]
    assert (row["name"], row["last_used_at"]) == ("bot", None)
