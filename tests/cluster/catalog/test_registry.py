"""Adapters from a folder to a name that answers, and out of service again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.adapter_name import engine_name, public_name
from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.base_models import BaseModels
from cluster.catalog.catalog import Catalog
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.publisher import Publisher
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.errors import Conflict, InvalidRequest, ModelNotFound
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.redis import CATALOG_VERSION
from cluster.store.schema import Adapter
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import bootstrap
from cluster.tenancy.organizations import Organizations
from tests.cluster.catalog.conftest import BASE, AdapterMaker


@dataclass
class Shop:
    registry: AdapterRegistry
    publisher: Publisher
    directory: ReplicaDirectory
    catalog: Catalog
    organization: str
    project: str
    database: Database

    async def add(self, folder: Path, name: str = "bot", base: str = "budgie") -> Adapter:
        return await self.registry.register(
            organization_id=self.organization,
            project_id=self.project,
            name=name,
            base_model=base,
            folder=folder,
        )

    async def replica(self, name: str, **more: object) -> None:
        replica = Replica("budgie", name, "node", 1, "actor", f"/{name}")
        await self.directory.announce(replace(replica, **more), changed=True)  # type: ignore[arg-type]

    async def state(self, adapter: Adapter) -> tuple[str, int, int]:
        row = await self.registry.get(adapter.id)
        assert row is not None
        return row.state, row.acknowledged, row.replicas


@pytest.fixture
async def shop(database: Database, redis: Redis, settings: Settings) -> AsyncIterator[Shop]:
    settings.home.mkdir()
    tenant = await bootstrap(settings, database)
    await BaseModels(database).register(BASE)
    registry = AdapterRegistry(database, Artifacts(settings.artifacts), redis)
    directory = ReplicaDirectory(redis)
    return Shop(
        registry=registry,
        publisher=Publisher(registry, directory),
        directory=directory,
        catalog=Catalog(database),
        organization=tenant.organization_id,
        project=tenant.project_id,
        database=database,
    )


async def test_an_adapter_is_published_once_every_replica_holds_it(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    adapter = await shop.add(make_adapter())
    held = frozenset({engine_name("bot", adapter.digest)})
    assert not await shop.publisher.step(), "no replica, no publication"
    await shop.replica("r1", adapters=held)
    await shop.replica("r2")
    await shop.publisher.step()
    assert await shop.state(adapter) == (AdapterState.PUBLISHING, 1, 2)
    await shop.catalog.refresh()
    with pytest.raises(ModelNotFound):
        shop.catalog.resolve(shop.organization, "bot")
    await shop.replica("r2", adapters=held)
    assert await shop.publisher.step()
    assert await shop.state(adapter) == (AdapterState.PUBLISHED, 2, 2)
    await shop.catalog.refresh()
    (route,) = shop.catalog.resolve(shop.organization, "bot").candidates
    assert route.engine_model == f"bot@{adapter.digest[:32]}"
    assert public_name(route.engine_model) == "bot"
    assert shop.catalog.resolve(shop.organization, route.engine_model).candidates == (route,)
    assert not await shop.publisher.step(), "nothing more to do"


async def test_a_replica_that_gives_up_fails_the_adapter_with_its_reason(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    adapter = await shop.add(make_adapter())
    name = engine_name("bot", adapter.digest)
    await shop.replica("r1", failures={name: "no room"})
    assert await shop.publisher.step()
    row = await shop.registry.get(adapter.id)
    assert row is not None
    assert (row.state, "no room" in (row.error or "")) == (AdapterState.FAILED, True)
    assert await shop.registry.wanted("budgie") == []
    again = await shop.add(make_adapter(seed=1))
    assert again.id != adapter.id, "a failed name may be given again"


async def test_an_adapter_that_no_replica_takes_fails_in_the_end(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    adapter = await shop.add(make_adapter())
    impatient = Publisher(shop.registry, shop.directory, patience=0.0)
    await shop.replica("r1")
    await impatient.step()
    assert await impatient.step()
    row = await shop.registry.get(adapter.id)
    assert row is not None
    assert (row.state, row.error) == (
        "failed",
        "0 of 1 replicas of 'budgie' have loaded it in 0 s.",
    )


async def test_a_published_adapter_stays_when_a_new_replica_is_still_loading(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    adapter = await shop.add(make_adapter())
    await shop.replica("r1", adapters=frozenset({engine_name("bot", adapter.digest)}))
    await shop.publisher.step()
    await shop.replica("r2")
    await shop.publisher.step()
    assert await shop.state(adapter) == (AdapterState.PUBLISHED, 1, 2)


async def test_a_published_adapter_says_why_a_replica_lacks_it(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    adapter = await shop.add(make_adapter())
    name = engine_name("bot", adapter.digest)
    await shop.replica("r1", adapters=frozenset({name}))
    await shop.publisher.step()
    await shop.replica("r1", failures={name: "no room"})
    await shop.publisher.step()
    assert await shop.state(adapter) == (AdapterState.PUBLISHED, 0, 1)
    row = await shop.registry.get(adapter.id)
    assert row is not None
    assert row.error == "replica r1 could not load it: no room"
    await shop.replica("r1", adapters=frozenset({name}))
    await shop.publisher.step()
    assert await shop.state(adapter) == (AdapterState.PUBLISHED, 1, 1)
    row = await shop.registry.get(adapter.id)
    assert row is not None
    assert row.error is None


async def test_registering_twice_is_registering_once(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    first = await shop.add(make_adapter())
    second = await shop.add(make_adapter())
    assert first.id == second.id
    with pytest.raises(Conflict, match="other weights"):
        await shop.add(make_adapter(seed=1))


@pytest.mark.parametrize("name", ["", "a b", "x@y", "../up", "n" * 300])
async def test_names_that_cannot_be_are_refused(
    shop: Shop, make_adapter: AdapterMaker, name: str
) -> None:
    with pytest.raises(InvalidRequest):
        await shop.add(make_adapter(), name)


async def test_a_base_models_name_is_taken(shop: Shop, make_adapter: AdapterMaker) -> None:
    with pytest.raises(Conflict, match="base model"):
        await shop.add(make_adapter(), "budgie")


async def test_a_base_may_be_named_by_an_alias(shop: Shop, make_adapter: AdapterMaker) -> None:
    await BaseModels(shop.database).register(replace(BASE, aliases=("small",)))
    assert (await shop.add(make_adapter(), base="small")).base_model == "budgie"
    with pytest.raises(Conflict, match="base model"):
        await shop.add(make_adapter(), "small")
    with pytest.raises(ModelNotFound) as refused:
        await shop.add(make_adapter(), base="smaller")
    assert refused.value.param == "base_model"


async def test_a_retired_name_is_unknown_and_may_be_given_again(
    shop: Shop, make_adapter: AdapterMaker, redis: Redis
) -> None:
    adapter = await shop.add(make_adapter())
    before = int(await redis.get(CATALOG_VERSION))
    await shop.registry.retire(shop.organization, "bot")
    assert int(await redis.get(CATALOG_VERSION)) == before + 1
    assert await shop.registry.wanted() == []
    with pytest.raises(ModelNotFound):
        await shop.registry.retire(shop.organization, "bot")
    assert (await shop.add(make_adapter())).id != adapter.id


async def test_of_removals_at_the_same_moment_one_succeeds(
    shop: Shop, make_adapter: AdapterMaker
) -> None:
    await shop.add(make_adapter())
    removals = [shop.registry.retire(shop.organization, "bot") for _ in range(4)]
    ends = await asyncio.gather(*removals, return_exceptions=True)
    assert ends.count(None) == 1
    assert sum(isinstance(end, ModelNotFound) for end in ends) == 3


async def test_a_publication_does_not_undo_a_removal(
    shop: Shop, make_adapter: AdapterMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is removed after the publisher has read its row and before it writes it."""
    adapter = await shop.add(make_adapter())
    await shop.replica("r1", adapters=frozenset({engine_name("bot", adapter.digest)}))
    read = AsyncSession.get_one

    async def read_then_lose(*arguments: Any, **options: Any) -> Any:
        row = await read(*arguments, **options)
        monkeypatch.undo()
        await shop.registry.retire(shop.organization, "bot")
        return row

    monkeypatch.setattr(AsyncSession, "get_one", read_then_lose)
    assert not await shop.publisher.step()
    assert (await shop.state(adapter))[0] == AdapterState.RETIRED
    assert await shop.registry.wanted() == []


async def test_another_organization_sees_nothing(shop: Shop, make_adapter: AdapterMaker) -> None:
    other = await Organizations(shop.database).create("Other", "other", "unlimited")
    adapter = await shop.add(make_adapter())
    await shop.replica("r1", adapters=frozenset({engine_name("bot", adapter.digest)}))
    await shop.publisher.step()
    await shop.catalog.refresh()
    foreign = other.organization.id
    assert [line.id for line in shop.catalog.listings(foreign, "project")] == ["budgie"]
    mine = shop.catalog.listings(shop.organization, "project")
    assert [line.id for line in mine] == ["budgie", "bot"]
    with pytest.raises(ModelNotFound):
        shop.catalog.resolve(foreign, "bot")
    with pytest.raises(ModelNotFound):
        await shop.registry.retire(foreign, "bot")


async def test_a_model_that_is_deployed_no_more_answers_no_more(shop: Shop) -> None:
    models = BaseModels(shop.database)
    assert await models.remove_missing({"budgie", "router"}) == []
    assert await models.remove_missing({"router"}) == ["budgie"]
    await shop.catalog.refresh()
    with pytest.raises(ModelNotFound):
        shop.catalog.resolve(shop.organization, "budgie")
    await models.register(BASE)
    await shop.catalog.refresh()
    (route,) = shop.catalog.resolve(shop.organization, "budgie").candidates
    assert route.base.modules == BASE.modules


async def test_a_model_that_was_renamed_answers_to_its_new_name_only(shop: Shop) -> None:
    models = BaseModels(shop.database)
    await models.register(replace(BASE, name="finch", application="finch"))
    await models.register(replace(BASE, name="budgie2"))
    await shop.catalog.refresh()
    assert {line.id for line in shop.catalog.listings(shop.organization, "project")} == {
        "budgie2",
        "finch",
    }
    with pytest.raises(ModelNotFound):
        shop.catalog.resolve(shop.organization, "budgie")
    await models.register(BASE)
    assert {model.name for model in await models.list()} == {"budgie", "finch"}


async def test_replicas_leave_the_directory(shop: Shop, redis: Redis) -> None:
    await shop.replica("r1", fields={"/v1/x": frozenset({"a"})})
    (found,) = (await shop.directory.read())["budgie"]
    assert found.fields == {"/v1/x": frozenset({"a"})}
    await shop.directory.withdraw("budgie", "r1")
    assert await shop.directory.read() == {}
    await shop.replica("r2")
    await redis.delete("lorikeet:replica:budgie:r2")  # as its expiry would
    assert await shop.directory.read() == {}
