"""What has ended leaves the disk, whatever dies on the way; what is needed stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import select, update

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.base_models import BaseModels
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.errors import Conflict, Unavailable
from cluster.jobs.states import JobState
from cluster.retention.policy import Policy
from cluster.retention.sweep import Sweep
from cluster.store.artifacts import Artifacts
from cluster.store.leftovers import remove_leftovers
from cluster.store.schema import Adapter, Job, JobCheckpoint, now
from cluster.store.sql import Database
from tests.cluster.catalog.conftest import BASE, AdapterMaker
from tests.cluster.doom import Crash, Doom, DoomedDatabase
from tests.cluster.jobs.world import World

HOUR = timedelta(hours=1)
POLICY = Policy(retired_adapter=HOUR, ended_job=24 * HOUR)


@dataclass
class Attic:
    """A world with its adapters, seen some time later."""

    world: World
    registry: AdapterRegistry
    directory: ReplicaDirectory

    def sweep(
        self, later: timedelta, database: Database | None = None, artifacts: Artifacts | None = None
    ) -> Sweep:
        return Sweep(
            database or self.world.database,
            artifacts or self.world.artifacts,
            self.directory,
            POLICY,
            clock=lambda: now() + later,
        )

    async def add(self, folder: Path, name: str = "bot", who: str = "ann") -> Adapter:
        return await self.registry.register(
            organization_id=f"org-{who}",
            project_id=f"proj-{who}",
            name=name,
            base_model="budgie",
            folder=folder,
        )

    def folders(self) -> list[Path]:
        return sorted(Path(self.world.artifacts.root).glob("adapters/*/*/adapter_config.json"))


@pytest.fixture
async def attic(both: World, redis: Redis) -> Attic:
    await BaseModels(both.database).register(BASE)
    registry = AdapterRegistry(both.database, both.artifacts, redis)
    return Attic(both, registry, ReplicaDirectory(redis))


@pytest.fixture
def make_adapter(tmp_path: Path) -> AdapterMaker:
    return AdapterMaker(tmp_path)


async def test_a_retired_adapter_goes_after_its_time(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    row = await attic.add(make_adapter())
    assert await attic.sweep(2 * HOUR).step() == [], "it is in service"
    await attic.registry.retire("org-ann", "bot")
    assert await attic.sweep(HOUR / 2).step() == []
    assert len(attic.folders()) == 1
    assert await attic.sweep(2 * HOUR).step() == [row.uri]
    assert attic.folders() == []
    assert await attic.sweep(2 * HOUR).step() == [], "once"
    again = await attic.add(make_adapter())
    assert (again.uri, len(attic.folders())) == (row.uri, 1)
    assert await attic.sweep(2 * HOUR).step() == []
    await attic.registry.retire("org-ann", "bot")
    assert await attic.sweep(2 * HOUR).step() == [row.uri]


async def fail(attic: Attic, row: Adapter) -> None:
    failed = AdapterState.FAILED
    await attic.registry.move(row.id, failed, error="no room", acknowledged=0, replicas=1)


async def test_a_failed_adapter_goes_after_its_time(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    row = await attic.add(make_adapter())
    await fail(attic, row)
    assert await attic.sweep(HOUR / 2).step() == []
    assert await attic.sweep(2 * HOUR).step() == [row.uri]
    assert attic.folders() == []
    assert await attic.sweep(2 * HOUR).step() == [], "once"


async def test_a_failed_adapter_keeps_no_retired_one_with_the_same_weights(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    row = await attic.add(make_adapter())
    await fail(attic, await attic.add(make_adapter(), who="bob"))
    assert await attic.sweep(2 * HOUR).step() == [], "ann's is in service"
    await attic.registry.retire("org-ann", "bot")
    assert await attic.sweep(2 * HOUR).step() == [row.uri]


async def test_it_stays_while_a_replica_holds_it(attic: Attic, make_adapter: AdapterMaker) -> None:
    row = await attic.add(make_adapter())
    await attic.registry.retire("org-ann", "bot")
    replica = Replica("budgie", "r1", "node", 1, "actor", "/r1")
    holding = replace(replica, adapters=frozenset({engine_name("bot", row.digest)}))
    await attic.directory.announce(holding, changed=True)
    assert await attic.sweep(2 * HOUR).step() == []
    await attic.directory.announce(replica, changed=True)
    assert await attic.sweep(2 * HOUR).step() == [row.uri]


async def test_it_stays_while_another_name_has_the_same_weights(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    row = await attic.add(make_adapter())
    assert (await attic.add(make_adapter(), who="bob")).uri == row.uri
    await attic.registry.retire("org-ann", "bot")
    assert await attic.sweep(2 * HOUR).step() == []
    await attic.registry.retire("org-bob", "bot")
    assert await attic.sweep(2 * HOUR).step() == [row.uri]


async def test_weights_that_are_refused_leave_nothing(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    await attic.add(make_adapter())
    with pytest.raises(Conflict):
        await attic.add(make_adapter(seed=1))
    assert len(attic.folders()) == 1


async def test_adding_and_sweeping_at_once_leave_no_row_without_its_folder(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    source = make_adapter()
    for turn in range(5):
        await attic.add(source, f"old{turn}")
        await attic.registry.retire("org-ann", f"old{turn}")
        sweeps = (attic.sweep(2 * HOUR).step() for _ in range(3))
        added, *_ = await asyncio.gather(attic.add(source), *sweeps, return_exceptions=True)
        if isinstance(added, Unavailable):
            continue
        assert isinstance(added, Adapter)
        assert len(attic.folders()) == 1
        await attic.registry.retire("org-ann", "bot")
        await attic.sweep(2 * HOUR).step()


async def ended_job(world: World, state: JobState = JobState.SUCCEEDED) -> Job:
    job = await world.create(world.ann)
    folder = Path(world.artifacts.path(f"jobs/{job.id}/attempt-1/step000010"))
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    async with world.database.begin() as session:
        session.add(JobCheckpoint(id=f"c-{job.id}", job_id=job.id, step=10, uri="u", metrics={}))
        values = {"state": state.value, "finished_at": now()}
        await session.execute(update(Job).where(Job.id == job.id).values(values))
    return job


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED])
async def test_an_ended_jobs_checkpoints_go_after_their_time(attic: Attic, state: JobState) -> None:
    world = attic.world
    job = await ended_job(world, state)
    running = await ended_job(world, JobState.TRAINING)
    assert await attic.sweep(HOUR).step() == []
    assert len((await world.jobs.checkpoints(world.ann, job.id)).items) == 1
    assert await attic.sweep(25 * HOUR).step() == [f"jobs/{job.id}"]
    assert (await world.jobs.checkpoints(world.ann, job.id)).items == ()
    assert [p.name for p in Path(world.artifacts.path("jobs")).iterdir()] == [running.id]
    assert await attic.sweep(25 * HOUR).step() == []


async def test_a_job_whose_process_may_still_write_keeps_its_folder(attic: Attic) -> None:
    job = await ended_job(attic.world, JobState.CANCELLED)
    async with attic.world.database.begin() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(submission_id="s"))
    assert await attic.sweep(25 * HOUR).step() == []


class DoomedArtifacts(Artifacts):
    doom: Doom

    def delete(self, uri: str) -> None:
        self.doom.tick()
        super().delete(uri)
        self.doom.tick()


async def test_a_sweep_that_dies_anywhere_is_done_by_the_next(
    attic: Attic, make_adapter: AdapterMaker
) -> None:
    world, source, keep = attic.world, make_adapter(), make_adapter(seed=1)
    await attic.add(keep, "kept")
    for life in range(1, 99):
        await attic.add(source)
        await attic.registry.retire("org-ann", "bot")
        job = await ended_job(world)
        database, artifacts = (
            DoomedDatabase(world.database.url),
            DoomedArtifacts(world.artifacts.url),
        )
        database.doom = artifacts.doom = doom = Doom(life)
        with contextlib.suppress(Crash):
            await attic.sweep(25 * HOUR, database, artifacts).step()
        await database.close()
        await attic.sweep(25 * HOUR).step()
        assert len(attic.folders()) == 1
        assert not Path(world.artifacts.path(f"jobs/{job.id}")).exists()
        async with world.database.begin() as session:
            open_jobs = select(Job.id).where(Job.files_removed_at.is_(None))
            assert (await session.scalars(open_jobs)).all() == []
            left = select(Adapter.name).where(Adapter.files_removed_at.is_(None))
            assert (await session.scalars(left)).all() == ["kept"]
        if doom.left > 0:
            return
    raise AssertionError("a sweep has an end")


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Artifacts]:
    url = tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}"
    store = Artifacts(url)
    yield store
    store.discard(store.root)


def test_what_was_cut_off_long_ago_goes(store: Artifacts) -> None:
    names = ("files/incoming-1", "adapters/incoming-2/a", "jobs/outgoing-3/x/y", "files/ab/abc")
    for name in names:
        path = store.path(name)
        store.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.fs.pipe_file(path, b"x")
    moment = now()
    assert remove_leftovers(store, moment - HOUR) == []
    assert sorted(remove_leftovers(store, moment + HOUR)) == [
        "adapters/incoming-2", "files/incoming-1", "jobs/outgoing-3",
    ]  # fmt: skip
    assert store.exists("files/ab/abc")
    assert remove_leftovers(store, moment + HOUR) == []


def test_a_folder_that_still_grows_is_no_leftover(tmp_path: Path) -> None:
    store = Artifacts(tmp_path.as_uri())
    folder = tmp_path / "adapters" / "incoming-1"
    folder.mkdir(parents=True)
    old = datetime(2020, 1, 1).timestamp()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"x")
    os.utime(folder / "a", (old, old))
    assert remove_leftovers(store, now() - HOUR) == []
    os.utime(folder / "b", (old, old))
    assert remove_leftovers(store, now() - HOUR) == ["adapters/incoming-1"]


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert remove_leftovers(Artifacts((tmp_path / "none").as_uri()), now()) == []
