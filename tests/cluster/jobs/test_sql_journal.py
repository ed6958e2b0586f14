from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.errors import Conflict
from cluster.jobs.journal import Progress, Superseded
from cluster.jobs.sql_journal import SqlJournal
from cluster.jobs.states import JobState
from cluster.store.schema import Job
from tests.cluster.jobs.world import World

PROGRESS = Progress(3, 10, 0.5, 1.25, 1e-3, 4000.0, 7.5, at=1_790_000_000.25)


@pytest.fixture
async def started(world: World) -> Job:
    job = await world.create(world.ann, suffix="s")
    await world.settle(world.supervision(), 2)
    return await world.jobs.get(world.ann, job.id)


@pytest.fixture
async def journal(world: World, started: Job) -> AsyncIterator[SqlJournal]:
    opened = await asyncio.to_thread(SqlJournal, world.settings, started.id, 1)
    yield opened
    await asyncio.to_thread(opened.close)


async def test_a_training_from_its_first_line_to_its_last(
    world: World, started: Job, journal: SqlJournal
) -> None:
    def train() -> None:
        assignment = journal.assignment()
        assert assignment.plan.max_steps == 150
        assert (assignment.base_source, assignment.suffix) == ("/nowhere", "s")
        assert assignment.organization_slug == "ann"
        journal.move(JobState.TRAINING)
        journal.move(JobState.TRAINING)
        journal.progress(PROGRESS)
        assert not journal.heartbeat()
        journal.checkpoint(5, "checkpoints/a", {"train_loss": 1.0})
        journal.checkpoint(5, "checkpoints/b", {"train_loss": 0.9})
        journal.note("hello", level="warn", data={"a": 1})
        with pytest.raises(Conflict):
            journal.move(JobState.SUCCEEDED)
        journal.move(JobState.SAVING)
        journal.registering("adapter-1", "ft:x", 99)
        journal.registering("adapter-1", "ft:x", 99)

    await asyncio.to_thread(train)
    job = await world.jobs.get(world.ann, started.id)
    events = (await world.jobs.events(world.ann, job.id, limit=100)).items
    assert [event.type for event in events].count("metrics") == 1
    assert (job.state, job.step, job.trained_tokens) == (JobState.REGISTERING, 3, 99)
    assert job.metrics is not None
    assert (job.metrics["train_loss"], job.metrics["at"]) == (1.25, PROGRESS.at)
    (checkpoint,) = (await world.jobs.checkpoints(world.ann, job.id)).items
    assert (checkpoint.step, checkpoint.uri) == (5, "checkpoints/b")


async def test_a_journal_is_fenced(world: World, started: Job, journal: SqlJournal) -> None:
    def calls() -> None:
        for call in (
            journal.assignment,
            journal.heartbeat,
            lambda: journal.move(JobState.TRAINING),
            lambda: journal.progress(PROGRESS),
            lambda: journal.fail("x", "y"),
        ):
            with pytest.raises(Superseded):
                call()

    await world.jobs.pause(world.ann, started.id)
    assert await asyncio.to_thread(journal.heartbeat)
    await world.jobs.cancel(world.ann, started.id)
    await asyncio.to_thread(calls)


async def test_several_moves_are_one(world: World, started: Job, journal: SqlJournal) -> None:
    def train() -> None:
        journal.move(JobState.TRAINING)
        journal.move(JobState.SAVING)
        with pytest.raises(Conflict):
            journal.move(JobState.REGISTERING, JobState.QUEUED)

    await asyncio.to_thread(train)
    assert (await world.jobs.get(world.ann, started.id)).state == JobState.SAVING
    await asyncio.to_thread(journal.move, JobState.REGISTERING, JobState.SUCCEEDED)
    assert (await world.jobs.get(world.ann, started.id)).state == JobState.SUCCEEDED


@pytest.mark.parametrize("reached", [JobState.TRAINING, JobState.EVALUATING, JobState.SAVING])
async def test_a_replaced_worker_begins_again_wherever_the_first_one_died(
    world: World, started: Job, journal: SqlJournal, reached: JobState
) -> None:
    path = [JobState.TRAINING, JobState.EVALUATING, JobState.SAVING]

    def die_and_go_on() -> None:
        for state in path[: path.index(reached) + 1]:
            journal.move(state)
        second = SqlJournal(world.settings, started.id, 1)
        for state in path:
            second.move(state)
        second.registering("adapter-1", "ft:x", 99)
        second.close()

    await asyncio.to_thread(die_and_go_on)
    assert (await world.jobs.get(world.ann, started.id)).state == JobState.REGISTERING


async def test_a_replaced_worker_of_a_job_that_was_handed_over_has_nothing_to_do(
    world: World, started: Job, journal: SqlJournal
) -> None:
    def die_and_go_on() -> None:
        for state in (JobState.TRAINING, JobState.SAVING):
            journal.move(state)
        journal.registering("adapter-1", "ft:x", 99)
        with pytest.raises(Superseded):
            journal.move(JobState.TRAINING)

    await asyncio.to_thread(die_and_go_on)
    row = await world.jobs.get(world.ann, started.id)
    assert (row.state, row.adapter_id) == (JobState.REGISTERING, "adapter-1")


async def test_fail_ends_the_job(world: World, started: Job, journal: SqlJournal) -> None:
    await asyncio.to_thread(journal.fail, "diverged", "The loss is not a number.")
    job = await world.jobs.get(world.ann, started.id)
    assert (job.state, job.error_code) == (JobState.FAILED, "diverged")
