"""A finished fine-tune in the product's own catalogue, and what was cut off on the way there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.base_models import BaseModels
from cluster.catalog.lifecycle import AdapterState
from cluster.jobs.journal import Assignment, Superseded
from cluster.jobs.sql_journal import SqlJournal
from cluster.jobs.states import JobState
from cluster.settings import Settings
from cluster.store.schema import Adapter, BaseModelRow, Job, now
from cluster.store.sql import Database
from tests.cluster.catalog.conftest import BASE, AdapterMaker
from tests.cluster.jobs.world import World, make_world
from train import publish as publish_module
from train.faults import Unworkable
from train.publish import CataloguePublisher

Publish = Callable[[Path], Awaitable[str]]


@pytest.fixture
async def world(database: Database, settings: Settings, redis_url: str) -> World:
    world = await make_world(database, settings.model_copy(update={"redis_url": redis_url}))
    await BaseModels(database).register(BASE)
    return world


@pytest.fixture
async def saving(world: World) -> Assignment:
    """What a process was told whose job is now `saving`."""
    job = await world.create(world.ann)
    await world.settle(world.supervision(), 2)

    def train() -> Assignment:
        journal = SqlJournal(world.settings, job.id, 1)
        assignment = journal.assignment()
        journal.move(JobState.TRAINING)
        journal.move(JobState.SAVING)
        journal.close()
        return assignment

    return await asyncio.to_thread(train)


@pytest.fixture
def publish(world: World, saving: Assignment) -> Publish:
    publisher = CataloguePublisher(world.settings)
    return lambda folder: asyncio.to_thread(publisher.publish, saving, "ft:bot", folder)


@pytest.fixture
def make_adapter(tmp_path: Path) -> AdapterMaker:
    return AdapterMaker(tmp_path)


async def model_went(world: World, ago: timedelta) -> None:
    async with world.database.begin() as session:
        await session.execute(update(BaseModelRow).values(removed_at=now() - ago))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for each time that an adapter is offered to the registry."""
    told: list[str] = []
    register = AdapterRegistry.register

    async def told_register(self: AdapterRegistry, **what: Any) -> Adapter:
        told.append(what["name"])
        return await register(self, **what)

    monkeypatch.setattr(AdapterRegistry, "register", told_register)
    monkeypatch.setattr(publish_module, "AGAIN", 0.01)
    return told


async def more_than(tries: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(tries) <= count:
            await asyncio.sleep(0.01)


async def adapters(world: World) -> dict[str, str]:
    async with world.database.begin() as session:
        return {row.id: row.state for row in await session.scalars(select(Adapter))}


async def test_it_is_published_once(
    world: World, publish: Publish, make_adapter: AdapterMaker
) -> None:
    adapter_id = await publish(make_adapter())
    assert await publish(make_adapter()) == adapter_id
    assert await adapters(world) == {adapter_id: AdapterState.PUBLISHING}


async def test_a_second_try_takes_the_place_of_one_that_was_cut_off(
    world: World, publish: Publish, make_adapter: AdapterMaker
) -> None:
    first = await publish(make_adapter())
    second = await publish(make_adapter(seed=1))
    assert await adapters(world) == {
        first: AdapterState.RETIRED,
        second: AdapterState.PUBLISHING,
    }


async def test_a_cancelled_job_publishes_nothing(
    world: World, saving: Assignment, publish: Publish, make_adapter: AdapterMaker
) -> None:
    await world.jobs.cancel(world.ann, saving.job_id)
    with pytest.raises(Superseded):
        await publish(make_adapter())
    assert await adapters(world) == {}
    assert not list(Path(world.artifacts.root).glob("adapters/*/*/*"))


async def test_an_attempt_that_was_given_up_publishes_nothing(
    world: World, saving: Assignment, publish: Publish, make_adapter: AdapterMaker
) -> None:
    async with world.database.begin() as session:
        (await session.get_one(Job, saving.job_id)).attempt = 2
    with pytest.raises(Superseded):
        await publish(make_adapter())
    assert await adapters(world) == {}


async def test_a_refusal_names_no_field_that_the_jobs_request_lacks(
    world: World, publish: Publish, make_adapter: AdapterMaker
) -> None:
    with pytest.raises(Unworkable) as refused:
        await publish(make_adapter(config={"r": 32}))
    assert (refused.value.code, refused.value.param) == ("adapter_rank_too_high", None)
    await model_went(world, timedelta(seconds=world.settings.train_start_timeout + 1))
    with pytest.raises(Unworkable) as refused:
        await publish(make_adapter())
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_a_model_that_is_away_for_a_restart_is_waited_for(
    world: World, publish: Publish, make_adapter: AdapterMaker, tries: list[str]
) -> None:
    await model_went(world, timedelta(0))
    publishing = asyncio.ensure_future(publish(make_adapter()))
    await more_than(tries, 2)
    await BaseModels(world.database).register(BASE)
    adapter_id = await publishing
    assert await adapters(world) == {adapter_id: AdapterState.PUBLISHING}


async def test_a_cancelled_job_waits_for_no_model(
    world: World, saving: Assignment, publish: Publish, make_adapter: AdapterMaker, tries: list[str]
) -> None:
    await model_went(world, timedelta(0))
    publishing = asyncio.ensure_future(publish(make_adapter()))
    await more_than(tries, 0)
    await world.jobs.cancel(world.ann, saving.job_id)
    with pytest.raises(Superseded):
        await publishing
