"""Connections to other providers: what can be one, what is kept, what it leads to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from cluster.catalog import connections
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.caller import Caller
from cluster.catalog.catalog import Catalog
from cluster.catalog.connection import Protocol
from cluster.catalog.connections import Change, Connections, compose
from cluster.catalog.route import Remote, Route
from cluster.errors import Conflict, InvalidRequest, LorikeetError, ModelNotFound, NotFound
from cluster.outgoing.allowance import Allowance
from cluster.seal import Seal, Unopened, new_key
from cluster.settings import Settings
from cluster.store.page import Order
from cluster.store.schema import Adapter, ConnectionRow
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import FirstTenant, bootstrap

BASE = BaseModel("meta/tiny", ModelKind.LLM, "tiny", "tiny", 64, max_rank=8)
CALLER = Caller("req-1", "key-1")
SECRET = "sk-very-secret"


@dataclass
class Desk:
    database: Database
    redis: Any
    tenant: FirstTenant
    catalog: Catalog
    old: str
    connections: Connections

    @property
    def org(self) -> str:
        return self.tenant.organization_id

    async def add(self, name: str = "acme", **more: Any) -> ConnectionRow:
        return await self.connections.create(
            self.org, "key-1", name, Protocol.OPENAI, SECRET, Change(**more)
        )

    def other(self, *keys: str) -> Connections:
        """The same rows, with other keys."""
        return Connections(self.database, self.redis, Seal(keys), Allowance())


@pytest.fixture
async def desk(database: Database, redis: object, settings: Settings) -> Desk:
    settings.home.mkdir()
    await BaseModels(database).register(BASE)
    tenant, key = await bootstrap(settings, database), new_key()
    kept = Connections(database, redis, Seal([key]), Allowance(["10.0.0.0/8"]))  # type: ignore[arg-type]
    return Desk(database, redis, tenant, Catalog(database), key, kept)


async def find(desk: Desk, name: str) -> Any:
    return (await desk.catalog.find(desk.org, name, CALLER)).candidates[0]


async def test_a_name_with_a_slash_leads_to_a_provider(desk: Desk) -> None:
    await desk.catalog.refresh()
    row = await desk.add(models=["m-1", "a/b"])
    found = await find(desk, "acme/m-1")
    assert found == Remote("acme/m-1", row.id, "m-1"), "without a refresh"
    assert (await find(desk, "acme/a/b")).model == "a/b"
    assert desk.catalog.connection(row.id) == compose(row)
    for unknown in ("acme/m-2", "acme/", "acme", "nobody/m-1", "/m-1"):
        with pytest.raises(ModelNotFound):
            await find(desk, unknown)
    with pytest.raises(ModelNotFound):
        await desk.catalog.find("org-other", "acme/m-1", CALLER)
    listed = desk.catalog.listings(desk.org, desk.tenant.project_id)
    assert [line.id for line in listed] == ["meta/tiny", "acme/m-1", "acme/a/b"]
    await desk.connections.change(desk.org, "k", "acme", Change(models=[]))
    await desk.catalog.refresh()
    assert (await find(desk, "acme/m-2")).model == "m-2"
    await desk.connections.change(desk.org, "k", "acme", Change(enabled=False))
    await desk.catalog.refresh()
    with pytest.raises(ModelNotFound):
        await find(desk, "acme/m-1")
    await desk.connections.remove(desk.org, "acme")
    with pytest.raises(NotFound):
        await desk.connections.get(desk.org, "acme")


async def test_models_of_our_own_go_first(desk: Desk) -> None:
    await desk.add("meta", models=["tiny", "big"])
    async with desk.database.begin() as session:
        session.add(
            Adapter(
                id="adapter-1", organization_id=desk.org, project_id=desk.tenant.project_id,
                name="meta/big", base_model=BASE.name, digest="d" * 64, uri="u", bytes=1, rank=1,
                target_modules=[], state="published",
            )
        )  # fmt: skip
    await desk.catalog.refresh()
    assert isinstance(await find(desk, "meta/tiny"), Route)
    assert isinstance(await find(desk, "meta/big"), Route)
    names = [line.id for line in desk.catalog.listings(desk.org, desk.tenant.project_id)]
    assert sorted(names) == ["meta/big", "meta/tiny"], "each once"


async def test_secrets_are_stored_sealed_and_shown_nowhere(desk: Desk) -> None:
    row = await desk.add(headers={"Api-Key": "header-secret"})
    async with desk.database.begin() as session:
        stored = (await session.execute(text("SELECT * FROM connections"))).one()
    shown = f"{stored} {vars(row)} {compose(row)!r} {compose(row).credentials(Seal([desk.old]))!r}"
    assert SECRET not in shown
    assert "header-secret" not in shown
    own = compose(row).credentials(Seal([desk.old]))
    assert (own.secret, own.headers) == (SECRET, (("api-key", "header-secret"),))
    assert row.header_names == ["api-key"]
    with pytest.raises(Unopened):
        compose(row).credentials(Seal([new_key()]))


async def test_a_secret_is_rotated(desk: Desk) -> None:
    before = await desk.add()
    after = await desk.connections.rotate(desk.org, "key-2", "acme", "sk-2")
    assert compose(after).credentials(Seal([desk.old])).secret == "sk-2"
    assert after.key_id == "key-2"
    assert before.secret_changed_at is not None
    assert after.secret_changed_at is not None
    assert after.secret_changed_at > before.secret_changed_at
    tried = desk.connections.trial(after, "sk-3")
    assert tried.credentials(Seal([desk.old])).secret == "sk-3"
    assert compose(await desk.connections.get(desk.org, "acme")) == compose(after)


async def test_the_key_of_the_store_is_rotated(desk: Desk) -> None:
    await desk.add(headers={"a": "b"})
    await desk.connections.create(desk.org, "k", "open", Protocol.OPENAI, None, Change())
    new = new_key()
    assert await desk.other(desk.old, new).renew() == 0
    assert await desk.other(new).renew() == 0, "what does not open stays as it is"
    assert await desk.other(new, desk.old).renew() == 1
    own = compose(await desk.connections.get(desk.org, "acme")).credentials(Seal([new]))
    assert (own.secret, own.headers) == (SECRET, (("a", "b"),))


async def test_a_secret_that_comes_while_the_store_is_sealed_anew_stays(desk: Desk) -> None:
    await desk.add()
    new = new_key()
    async with desk.database.begin() as session:
        row = await connections._claimed(session, desk.org, "acme")
        row.secret = Seal([desk.old]).close("sk-2")
        await session.flush()
        renewing = asyncio.create_task(desk.other(new, desk.old).renew())
        await asyncio.wait([renewing], timeout=0.2)
        assert not renewing.done(), "it waits for its turn"
    assert await renewing == 1
    own = compose(await desk.connections.get(desk.org, "acme")).credentials(Seal([new]))
    assert own.secret == "sk-2"


async def test_another_host_does_not_get_the_secret(desk: Desk) -> None:
    await desk.add(base_url="https://a.test/v1", headers={"a": "b"})
    same = await desk.connections.change(desk.org, "k", "acme", Change(base_url="https://a.test/x"))
    assert same.secret is not None
    for url in ("https://a.test:8443/v1", "http://a.test:8443/v1", "https://b.test/v1"):
        await desk.connections.rotate(desk.org, "k", "acme", SECRET)
        row = await desk.connections.change(desk.org, "k", "acme", Change(base_url=url))
        assert (row.secret, row.secret_changed_at, row.headers, row.header_names) == (
            None, None, None, [],
        )  # fmt: skip


async def test_a_secret_that_comes_during_a_change_of_host_is_not_the_new_hosts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.connections.create(
        desk.org, "k", "acme", Protocol.OPENAI, None, Change(base_url="https://a.test/v1")
    )
    read = connections._present
    rotating: list[asyncio.Task[ConnectionRow]] = []

    async def interrupted(*given: Any, **more: Any) -> ConnectionRow:
        row = await read(*given, **more)
        if not rotating:
            rotating.append(
                asyncio.create_task(desk.connections.rotate(desk.org, "k", "acme", SECRET))
            )
            await asyncio.wait(rotating, timeout=0.2)
            assert not rotating[0].done(), "it waits for its turn"
        return row

    monkeypatch.setattr(connections, "_present", interrupted)
    row = await desk.connections.change(desk.org, "k", "acme", Change(base_url="https://b.test/v1"))
    assert row.secret is None
    assert (await rotating[0]).base_url == "https://b.test/v1", "who set it later knew the host"


async def test_addresses_as_the_sdks_take_them(desk: Desk) -> None:
    for number, (protocol, given, kept) in enumerate(
        (
            (Protocol.OPENAI, None, "https://api.openai.com/v1"),
            (Protocol.OPENAI, "https://a.test", "https://a.test/v1"),
            (Protocol.OPENAI, "https://a.test/openai/", "https://a.test/openai"),
            (Protocol.ANTHROPIC, None, "https://api.anthropic.com"),
            (Protocol.ANTHROPIC, "https://a.test/v1/", "https://a.test"),
        )
    ):
        row = await desk.connections.create(
            desk.org, "k", f"acme{number}", protocol, None, Change(base_url=given)
        )
        assert row.base_url == kept


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Acme"}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a" * 64}, "name"),
    ({"secret": ""}, "secret"),
    ({"secret": "sk-é"}, "secret"),
    ({"secret": "sk-1\nx: y"}, "secret"),
    ({"base_url": "https://192.168.0.1"}, "base_url"),
    ({"base_url": "https://a.test?key=1"}, "base_url"),
    ({"timeout": 0.5}, "timeout"),
    ({"timeout": 99999.0}, "timeout"),
    ({"models": [""]}, "models[0]"),
    ({"models": ["a", " b"]}, "models[1]"),
    ({"models": ["a"] * 501}, "models"),
    ({"headers": {"host": "x"}}, "headers"),
    ({"headers": {"a b": "x"}}, "headers"),
    ({"headers": {"A": "x", "a": "y"}}, "headers"),
    ({"headers": {"a": "x\r\ny: z"}}, "headers.a"),
    ({"headers": {"a": 5}}, "headers.a"),
    ({"headers": {f"a{n}": "x" for n in range(17)}}, "headers"),
]


async def test_what_can_not_be(desk: Desk) -> None:
    await desk.add("there")
    for given, param in WRONG:
        more = {key: value for key, value in given.items() if key not in ("name", "secret")}
        with pytest.raises(InvalidRequest) as caught:
            await desk.connections.create(
                desk.org, "k", given.get("name", "acme"), Protocol.OPENAI,
                given.get("secret"), Change(**more),
            )  # fmt: skip
        assert caught.value.param == param
        if more:
            with pytest.raises(InvalidRequest) as caught:
                await desk.connections.change(desk.org, "k", "there", Change(**more))
            assert caught.value.param == param
    page = await desk.connections.page(desk.org, after=None, limit=9, order=Order.ASCENDING)
    (row,) = page.items
    assert compose(row).name == "there"


async def test_of_one_name_there_is_one_and_of_all_a_bound(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.add()
    with pytest.raises(Conflict) as caught:
        await desk.add()
    assert caught.value.param == "name"
    monkeypatch.setattr("cluster.catalog.connections.MAX_CONNECTIONS", 1)
    with pytest.raises(Conflict):
        await desk.add("other")


async def test_others_have_none_of_it(desk: Desk) -> None:
    await desk.add()
    wrong, kept = "org-other", desk.connections
    for call in (
        kept.get(wrong, "acme"),
        kept.change(wrong, "k", "acme", Change(enabled=False)),
        kept.rotate(wrong, "k", "acme", "sk-2"),
        kept.remove(wrong, "acme"),
    ):
        with pytest.raises(LorikeetError) as caught:
            await call
        assert caught.value.status == 404
    page = await kept.page(wrong, after=None, limit=10, order=Order.ASCENDING)
    assert page.items == ()
    page = await kept.page(desk.org, after=None, limit=10, order=Order.ASCENDING)
    assert [compose(row).name for row in page.items] == ["acme"]
