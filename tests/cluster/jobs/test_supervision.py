from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, update

from cluster.catalog.base_models import BaseModels
from cluster.catalog.lifecycle import AdapterState
from cluster.errors import Unavailable
from cluster.jobs.backoff import Backoff
from cluster.jobs.runner import RunStatus
from cluster.jobs.runs import last_error
from cluster.jobs.spec import TrainingSpec
from cluster.jobs.sql_journal import SqlJournal
from cluster.jobs.states import JobState
from cluster.jobs.supervision import Supervision
from cluster.jobs.transition import move, seize
from cluster.jobs.validations import PATIENCE
from cluster.store.artifacts import Artifacts
from cluster.store.schema import Adapter, BaseModelRow, Job, JobEvent, now
from tests.cluster.jobs.world import BASE, World, facts

S = JobState


async def state(world: World, job: Job) -> JobState:
    async with world.database.begin() as session:
        return JobState((await session.get_one(Job, job.id)).state)


async def reaches(world: World, job: Job, wanted: JobState) -> None:
    for _ in range(2000):
        if await state(world, job) == wanted:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{job.id} did not become {wanted}")


async def change(world: World, job: Job, **values: object) -> None:
    async with world.database.begin() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(**values))


async def advance(world: World, job: Job, *states: JobState) -> None:
    """What a training process would write."""
    for after in states:
        async with world.database.begin() as session:
            row = await seize(session, job.id)
            assert row is not None
            move(session, row, after, after.value)


async def adapter(world: World, job: Job, adapter_state: AdapterState) -> None:
    """What a training process would write once it has published an adapter."""
    await stored(world, job, adapter_state)
    await change(world, job, adapter_id=f"adapter-{job.id}", fine_tuned_model=f"ft:{job.id}")


async def stored(world: World, job: Job, adapter_state: AdapterState) -> None:
    """An adapter that the job does not name yet."""
    async with world.database.begin() as session:
        session.add(
            Adapter(
                id=f"adapter-{job.id}", organization_id=job.organization_id,
                project_id=job.project_id, name=f"ft:{job.id}", base_model="budgie", digest="d",
                uri="u", bytes=1, rank=1, target_modules=[], state=adapter_state, error=None,
                job_id=job.id,
            )
        )  # fmt: skip


async def test_from_upload_to_success(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.attempt, row.submission_id) == (S.STARTING, 1, f"{job.id}-1")
    assert row.resolved is not None
    assert row.resolved["epochs"] == 75
    await advance(world, job, S.TRAINING, S.SAVING, S.REGISTERING)
    await adapter(world, job, AdapterState.PUBLISHING)
    world.runner.runs[f"{job.id}-1"] = RunStatus.SUCCEEDED
    await supervision.step()
    assert await state(world, job) == S.REGISTERING
    async with world.database.begin() as session:
        await session.execute(update(Adapter).values(state="published"))
    await supervision.step()
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.submission_id) == (S.SUCCEEDED, None)


@pytest.mark.parametrize(("grows", "expected"), [(False, S.FAILED), (True, S.STARTING)])
async def test_a_job_that_no_cluster_of_this_size_can_hold(
    world: World, grows: bool, expected: JobState
) -> None:
    world.settings = world.settings.model_copy(update={"train_cluster_grows": grows})
    spec = TrainingSpec(num_workers=64, batch_size=64)
    job = await world.create(world.ann, spec=spec)
    await world.settle(world.supervision())
    row = await world.jobs.get(world.ann, job.id)
    assert row.state == expected
    if not grows:
        assert row.error_code == "insufficient_resources"
        assert row.error_param == "hyperparameters.num_workers"
        assert "64 workers need 32 CPUs together, of 4." in (row.error_message or "")


async def test_success_follows_publication_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.jobs.supervision.INTERVAL", 3600.0)  # nothing but being woken
    wake = asyncio.Event()
    supervision = world.supervision(wake=wake)
    loop = asyncio.create_task(supervision.run())
    job = await world.create(world.ann)
    wake.set()
    await reaches(world, job, S.STARTING)
    await advance(world, job, S.TRAINING, S.SAVING, S.REGISTERING)
    await adapter(world, job, AdapterState.PUBLISHED)
    wake.set()
    await reaches(world, job, S.SUCCEEDED)
    assert (await world.jobs.get(world.ann, job.id)).state == S.SUCCEEDED
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


@pytest.mark.parametrize("content", [b'{"messages": []}', b"{}\n" * 150])
async def test_bad_data_fails_with_its_line(world: World, content: bytes) -> None:
    job = await world.create(world.ann, content)
    await world.settle(world.supervision())
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.error_code) == (S.FAILED, "invalid_training_file")
    assert row.error_param == "training_file"
    assert "line 1" in (row.error_message or "")
    events = (await world.jobs.events(world.ann, job.id, limit=1000)).items
    shown = [event for event in events if event.data and "line" in event.data]
    assert len(shown) == min(content.count(b"{"), 100)
    assert world.runner.runs == {}


async def test_lost_content_and_a_lost_model_fail(world: World) -> None:
    gone, homeless = await world.create(world.ann, facts(3)), await world.create(world.ann)
    row = await world.files.get(world.ann, gone.training_file_id)
    world.artifacts.delete(row.uri)
    await world.settle(world.supervision(), 0)
    await world.settle(world.supervision(), 0)
    async with world.database.begin() as session:
        long_ago = now() - timedelta(hours=1)
        await session.execute(update(BaseModelRow).values(removed_at=long_ago))
    await world.settle(world.supervision())
    assert (await world.jobs.get(world.ann, gone.id)).error_code in (
        "file_not_found",
        "model_not_found",
    )
    assert (await world.jobs.get(world.ann, homeless.id)).error_code == "model_not_found"


async def test_a_model_that_is_away_for_a_restart_is_waited_for(world: World) -> None:
    job = await world.create(world.ann)
    async with world.database.begin() as session:
        await session.execute(update(BaseModelRow).values(removed_at=now()))
    supervision = world.supervision()
    for _ in range(3):
        await world.settle(supervision, 0)
    assert (await world.jobs.get(world.ann, job.id)).state == S.VALIDATING
    async with world.database.begin() as session:
        await session.execute(update(BaseModelRow).values(removed_at=None))
    await world.settle(supervision)
    assert (await world.jobs.get(world.ann, job.id)).state == S.STARTING


class SickArtifacts(Artifacts):
    """A store whose files named in `sick` can't be reached."""

    sick: set[str]
    reads = 0

    def open(self, uri: str) -> Any:
        self.reads += uri in self.sick
        if uri in self.sick:
            raise Unavailable("The artifact store does not answer.")
        return super().open(uri)


@pytest.fixture
async def sick(world: World) -> list[Job]:
    """The two oldest jobs, whose data can't be read."""
    jobs = [await world.create(world.ann, facts(10 + i)) for i in range(2)]
    world.artifacts = artifacts = SickArtifacts(world.artifacts.url)
    artifacts.sick = {(await world.files.get(world.ann, job.training_file_id)).uri for job in jobs}
    return jobs


async def test_jobs_that_can_not_be_judged_hold_up_nobody(world: World, sick: list[Job]) -> None:
    healthy = await world.create(world.bob)
    loop = asyncio.create_task(world.supervision(backoff=Backoff()).run())
    await reaches(world, healthy, S.STARTING)
    assert [await state(world, job) for job in sick] == [S.VALIDATING] * 2
    await asyncio.sleep(1.5)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert isinstance(world.artifacts, SickArtifacts)
    assert 2 <= world.artifacts.reads <= 6, "the first pause is a second long, the next longer"


async def test_a_job_that_can_not_be_judged_ends_with_the_reason(
    world: World, sick: list[Job]
) -> None:
    seconds = [0.0]
    supervision = world.supervision(backoff=Backoff(first=0.0, clock=lambda: seconds[0]))
    for seconds[0] in (0.0, PATIENCE - 1):
        await world.settle(supervision, 1)
    assert await state(world, sick[0]) == S.VALIDATING
    seconds[0] = PATIENCE
    await world.settle(supervision, 2)
    row = await world.jobs.get(world.ann, sick[0].id)
    assert (row.state, row.error_code) == (S.FAILED, "service_unavailable")
    assert row.error_message == (
        "Not validated within 15 minutes. The artifact store does not answer."
    )


async def test_a_cancelled_job_is_judged_no_more(world: World, sick: list[Job]) -> None:
    backoff = Backoff()
    supervision = world.supervision(backoff=backoff)
    await world.settle(supervision, 1)
    assert set(backoff.keys) == {job.id for job in sick}
    await world.jobs.cancel(world.ann, sick[0].id)
    await supervision.step()
    assert set(backoff.keys) == {sick[1].id}


async def test_a_queued_job_whose_model_is_away_lets_others_pass(world: World) -> None:
    other = replace(BASE, name="other", application="other", aliases=())
    await BaseModels(world.database).register(other)
    first, waiting, passing = [await world.create(world.ann) for _ in range(3)]
    supervision = world.supervision()
    await world.settle(supervision)
    assert await state(world, first) == S.STARTING
    await change(world, passing, base_model="other")
    async with world.database.begin() as session:
        away = update(BaseModelRow).where(BaseModelRow.name == "budgie")
        await session.execute(away.values(removed_at=now()))
    await world.jobs.cancel(world.ann, first.id)
    await world.settle(supervision)
    assert await state(world, waiting) == S.QUEUED
    assert await state(world, passing) == S.STARTING


async def test_turns_between_organizations(world: World) -> None:
    supervision = world.supervision()
    anns = [await world.create(world.ann) for _ in range(3)]
    bobs = [await world.create(world.bob)]
    await world.settle(supervision, 6)
    order = []
    for _ in range(4):
        (running,) = world.runner.runs
        order.append(running.removesuffix("-1"))
        who = world.ann if order[-1] in {job.id for job in anns} else world.bob
        await world.jobs.cancel(who, order[-1])
        await world.settle(supervision, 2)
        world.runner.runs.pop(running)
    assert order == [anns[0].id, bobs[0].id, anns[1].id, anns[2].id]


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.STOPPED, RunStatus.SUCCEEDED])
async def test_a_lost_process_is_tried_again_and_then_given_up(
    world: World, status: RunStatus
) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    for attempt in (1, 2, 3):
        assert await state(world, job) == S.STARTING
        await advance(world, job, S.TRAINING)
        world.runner.runs[f"{job.id}-{attempt}"] = status
        await supervision.step()
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.attempt, row.error_code) == (S.FAILED, 3, "training_failed")
    if status is RunStatus.FAILED:
        assert "ValueError: broken" in (row.error_message or "")


async def test_a_restarted_cluster_is_no_fault_of_the_job(world: World) -> None:
    job = await world.create(world.ann)
    await world.settle(world.supervision())
    await advance(world, job, S.TRAINING)
    for attempt in range(2, 7):
        world.runner.runs.clear()
        await world.supervision().step()
        assert world.runner.runs == {f"{job.id}-{attempt}": RunStatus.RUNNING}
        await advance(world, job, S.TRAINING)


async def test_silence_is_death(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    await advance(world, job, S.TRAINING)
    await change(world, job, heartbeat_at=now() - timedelta(seconds=121))
    world.runner.runs[f"{job.id}-1"] = RunStatus.PENDING
    await supervision.step()
    assert await state(world, job) == S.TRAINING
    await change(world, job, heartbeat_at=now() - timedelta(seconds=121))
    world.runner.runs[f"{job.id}-1"] = RunStatus.RUNNING
    await supervision.step()
    assert await state(world, job) == S.QUEUED
    await supervision.step()  # stops the first run
    assert world.runner.stops == [f"{job.id}-1"]
    await supervision.step()
    assert world.runner.runs[f"{job.id}-2"] is RunStatus.RUNNING


async def test_a_start_is_waited_for_while_it_beats(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    long_ago = now() - timedelta(seconds=world.settings.train_start_timeout + 1)
    for _ in range(world.settings.train_max_attempts):
        await change(world, job, heartbeat_at=long_ago)
        journal = await asyncio.to_thread(SqlJournal, world.settings, job.id, 1)
        assert not await asyncio.to_thread(journal.heartbeat)
        await asyncio.to_thread(journal.close)
        await supervision.step()
        assert await state(world, job) == S.STARTING
    for attempt in range(1, world.settings.train_max_attempts + 1):
        await reaches_attempt(world, supervision, job, attempt)
        await change(world, job, heartbeat_at=long_ago)
        await supervision.step()
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.error_code) == (S.FAILED, "training_failed")
    assert "no sign of life" in (row.error_message or "")


async def reaches_attempt(world: World, supervision: Supervision, job: Job, attempt: int) -> None:
    for _ in range(10):
        row = await world.jobs.get(world.ann, job.id)
        if (row.state, row.attempt) == (S.STARTING, attempt):
            return
        await supervision.step()
    pytest.fail(f"{job.id} did not come to attempt {attempt}")


@pytest.mark.parametrize(
    "states",
    [
        (),
        (S.TRAINING,),
        (S.TRAINING, S.EVALUATING),
        (S.TRAINING, S.SAVING),
        (S.TRAINING, S.SAVING, S.REGISTERING),
    ],
)
async def test_the_time_limit(world: World, states: tuple[JobState, ...]) -> None:
    """Every state in which there is a process has an end."""
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    await advance(world, job, *states)
    await change(world, job, started_at=now() - timedelta(hours=25))
    await supervision.step()
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.error_code) == (S.TIMED_OUT, "timed_out")
    assert world.runner.stops == [f"{job.id}-1"]


async def test_pause_and_resume(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    await advance(world, job, S.TRAINING)
    await world.jobs.pause(world.ann, job.id)
    await supervision.step()
    assert world.runner.stops == [f"{job.id}-1"]
    await supervision.step()
    assert await state(world, job) == S.PAUSED
    await world.jobs.resume(world.ann, job.id)
    await supervision.step()
    assert (await world.jobs.get(world.ann, job.id)).attempt == 2
    # One that waits for resources can't be stopped: its row is left at once.
    world.runner.runs[f"{job.id}-2"] = RunStatus.PENDING
    await world.jobs.pause(world.ann, job.id)
    await supervision.step()
    assert await state(world, job) == S.PAUSED


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
async def test_cancelling_frees_the_place(world: World, status: RunStatus) -> None:
    supervision = world.supervision()
    job, following = await world.create(world.ann), await world.create(world.ann)
    await world.settle(supervision)
    world.runner.runs[f"{job.id}-1"] = status
    await world.jobs.cancel(world.ann, job.id)
    await supervision.step()
    assert world.runner.stops == [f"{job.id}-1"]
    await supervision.step()
    await supervision.step()
    assert await state(world, following) == S.STARTING


async def test_an_adapter_that_fails_and_one_whose_job_was_cancelled(world: World) -> None:
    retired: list[str] = []

    async def retire(adapter_id: str) -> None:
        retired.append(adapter_id)

    supervision = world.supervision(retire=retire)
    jobs = []
    for adapter_state in (AdapterState.FAILED, AdapterState.PUBLISHING):
        job = await world.create(world.ann)
        await world.settle(supervision)
        await advance(world, job, S.TRAINING, S.SAVING, S.REGISTERING)
        await adapter(world, job, adapter_state)
        world.runner.runs[f"{job.id}-1"] = RunStatus.SUCCEEDED
        jobs.append(job)
        await supervision.step()
    assert (await world.jobs.get(world.ann, jobs[0].id)).error_code == "registration_failed"
    await world.jobs.cancel(world.ann, jobs[1].id)
    await supervision.step()
    assert retired == [f"adapter-{jobs[1].id}"]


async def test_a_process_that_ended_before_it_named_an_adapter(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    await advance(world, job, S.TRAINING, S.SAVING, S.REGISTERING)
    await supervision.step()
    assert await state(world, job) == S.REGISTERING
    world.runner.runs[f"{job.id}-1"] = RunStatus.FAILED
    await world.settle(supervision, 1)
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.error_code) == (S.FAILED, "registration_failed")
    assert row.submission_id is None


@pytest.mark.parametrize("end", [S.CANCELLED, S.TIMED_OUT, S.FAILED, S.QUEUED])
async def test_an_adapter_that_its_job_never_named_is_retired(world: World, end: JobState) -> None:
    """The process published it and died, or was cancelled, before it could say so."""
    retired: list[str] = []

    async def retire(adapter_id: str) -> None:
        retired.append(adapter_id)

    supervision = world.supervision(retire=retire)
    job = await world.create(world.ann)
    await world.settle(supervision)
    await advance(world, job, S.TRAINING, S.SAVING)
    await stored(world, job, AdapterState.PUBLISHED)
    await supervision.step()
    assert retired == [], "it may be about to say so"
    await advance(world, job, end)
    await supervision.step()
    assert retired == [f"adapter-{job.id}"]


async def test_a_cluster_that_is_away_is_waited_for(world: World) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision, 1)
    world.runner.away = True
    row = await world.jobs.get(world.ann, job.id)
    await world.settle(supervision)
    world.runner.away = False
    await world.settle(supervision)
    row = await world.jobs.get(world.ann, job.id)
    assert (row.state, row.attempt, row.failures) == (S.STARTING, 1, 0)
    assert list(world.runner.runs) == [f"{job.id}-1"]


async def test_at_rest_it_asks_little(world: World) -> None:
    """It shares its cores with the engines: once a job has ended, a look costs three statements."""
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    statements: list[str] = []
    event.listen(
        world.database._engine.sync_engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: statements.append(statement),
    )
    await supervision.step()
    busy = len(statements)
    await advance(world, job, S.FAILED)
    await world.settle(supervision)
    statements.clear()
    await supervision.step()
    assert len(statements) == 3 < busy, statements


async def test_one_owner(world: World) -> None:
    old: Supervision = world.supervision()
    assert await old.step()
    new = world.supervision()
    assert await new.step()
    assert not await old.step()


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", None),
        ("a\nb\n\n", None),
        ("\x1b[36m(RayTrainWorker pid=10484)\x1b[0m              66 RETURN_VALUE", None),
        ("ErrorHandling begins\nConnectionError handling begins", None),
        ("\x1b[36m(RayTrainWorker pid=1)\x1b[0m ValueError: broken", "ValueError: broken"),
        ("(train(rank=0) pid=1, ip=10.0.0.1) KeyboardInterrupt", "KeyboardInterrupt"),
        (
            "Traceback\ntorch.cuda.OutOfMemoryError: no room\nbye",
            "torch.cuda.OutOfMemoryError: no room",
        ),
        ("RuntimeError: " + "x" * 900, "RuntimeError: " + "x" * 485 + "…"),
    ],
)
def test_the_reason_in_a_log(log: str, reason: str | None) -> None:
    assert last_error(log) == reason


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (-9, "ValueError: older", "The training process ended. It was killed by signal 9."),
        (137, "", "The training process ended. It was killed by signal 9."),
        (1, "Step 3", "The training process ended without a message."),
        (None, "ValueError: broken", "The training process ended: ValueError: broken"),
    ],
)
async def test_what_is_told_of_a_lost_attempt(
    world: World, code: int | None, log: str, reason: str
) -> None:
    supervision = world.supervision()
    job = await world.create(world.ann)
    await world.settle(supervision)
    world.runner.code, world.runner.log = code, log
    world.runner.runs[f"{job.id}-1"] = RunStatus.FAILED
    await supervision.step()
    async with world.database.begin() as session:
        told = (await session.scalars(select(JobEvent.message))).all()
    assert f"Attempt 1 was lost. {reason}" in told
