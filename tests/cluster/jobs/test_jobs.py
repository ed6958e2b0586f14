from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cluster.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from cluster.jobs.request import JobRequest
from cluster.jobs.spec import TrainingSpec
from cluster.jobs.states import JobState
from cluster.store.page import Order
from cluster.store.schema import Job, now
from tests.cluster.jobs.world import World, stream


async def test_created_read_and_listed_by_its_own_organization(both: World) -> None:
    jobs = [await both.create(both.ann) for _ in range(3)]
    assert jobs[0].state == JobState.VALIDATING
    page = await both.jobs.list(both.ann, limit=2)
    assert [job.id for job in page.items] == [jobs[2].id, jobs[1].id]
    assert page.has_more
    rest = await both.jobs.list(both.ann, limit=2, after=jobs[1].id)
    assert ([job.id for job in rest.items], rest.has_more) == ([jobs[0].id], False)
    assert (await both.jobs.list(both.bob)).items == ()
    for read in (both.jobs.get, both.jobs.events, both.jobs.checkpoints, both.jobs.cancel):
        with pytest.raises(NotFound):
            await read(both.bob, jobs[0].id)
    with pytest.raises(InvalidRequest, match="after"):
        await both.jobs.list(both.bob, after=jobs[0].id)
    with pytest.raises(InvalidRequest, match="limit"):
        await both.jobs.list(both.ann, limit=0)


async def test_what_is_refused_leaves_nothing(world: World) -> None:
    mine, theirs = await world.upload(world.ann), await world.upload(world.bob)
    other = await world.files.upload(
        world.ann, filename="x", purpose="user_data", chunks=stream(b"x")
    )
    wrong = {
        "model": (JobRequest("nope", mine), ModelNotFound),
        "training_file": (JobRequest("budgie", theirs), NotFound),
        "validation_file": (JobRequest("budgie", mine, validation_file="file-0"), NotFound),
        "suffix": (JobRequest("budgie", mine, suffix="a b"), InvalidRequest),
        "hyperparameters.n_epochs": (
            JobRequest("budgie", mine, spec=TrainingSpec(n_epochs=0)),
            InvalidRequest,
        ),
        "metadata": (JobRequest("budgie", mine, metadata={"k": "v" * 513}), InvalidRequest),
    }
    for param, (request, error) in wrong.items():
        with pytest.raises(error) as caught:
            await world.jobs.create(world.ann, request)
        assert caught.value.param == param
    with pytest.raises(InvalidRequest, match="purpose"):
        await world.jobs.create(world.ann, JobRequest("budgie", other.id))
    async with world.database.begin() as session:
        assert await session.scalar(select(func.count()).select_from(Job)) == 0


async def test_an_alias_means_its_model(world: World) -> None:
    request = JobRequest("small", await world.upload(world.ann))
    assert (await world.jobs.create(world.ann, request)).base_model == "budgie"


async def test_an_idempotency_key_means_one_job_for_a_day(both: World) -> None:
    file_id = await both.upload(both.ann)
    request = JobRequest("budgie", file_id, idempotency_key="k")
    made = await asyncio.gather(*(both.jobs.create(both.ann, request) for _ in range(4)))
    assert len({job.id for job in made}) == 1
    with pytest.raises(Conflict, match="another request"):
        await both.jobs.create(both.ann, JobRequest("budgie", file_id, "x", idempotency_key="k"))
    async with both.database.begin() as session:
        await session.execute(update(Job).values(created_at=now() - timedelta(hours=25)))
    assert (await both.jobs.create(both.ann, request)).id != made[0].id


async def test_cancel_pause_and_resume(world: World) -> None:
    job = await world.create(world.ann)
    with pytest.raises(Conflict, match="cannot become paused"):
        await world.jobs.pause(world.ann, job.id)
    await world.settle(world.supervision(), 0)
    await world.settle(world.supervision(), 1)
    running = await world.jobs.pause(world.ann, job.id)
    assert running.pause_requested
    with pytest.raises(Conflict, match="still pausing"):
        await world.jobs.resume(world.ann, job.id)
    cancelled = await world.jobs.cancel(world.ann, job.id)
    assert (cancelled.state, cancelled.finished_at is None) == (JobState.CANCELLED, False)
    assert (await world.jobs.cancel(world.ann, job.id)).state == JobState.CANCELLED
    with pytest.raises(Conflict):
        await world.jobs.resume(world.ann, job.id)
    events = await world.jobs.events(world.ann, job.id, order=Order.ASCENDING, limit=2)
    assert events.items[0].message.startswith("Created")
    assert events.has_more
    following = await world.jobs.events(
        world.ann, job.id, order=Order.ASCENDING, after=events.items[1].id, limit=100
    )
    assert following.items[-1].message == "Cancelled."
