"""The owner of all fine-tunes: moves each to its next state until it has ended.

Whatever crashes, the rows say where to go on. One process acts at a time, by a lease that every one
of its transactions holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.lifecycle import WANTED, AdapterState
from cluster.datasets.tokens import TokenizerLoader
from cluster.errors import Unavailable
from cluster.jobs.backoff import Backoff
from cluster.jobs.intake import Intake, may_come_back
from cluster.jobs.lease import Lease, LeaseLost
from cluster.jobs.queue import next_job, occupied
from cluster.jobs.runner import Runner, submission_id
from cluster.jobs.runs import Runs
from cluster.jobs.states import JOB_LIFECYCLE, JobState
from cluster.jobs.transition import fail, move, seize
from cluster.jobs.validations import Validations
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.schema import Adapter, BaseModelRow, Job, now
from cluster.store.sql import Database
from cluster.waiting import happens

log = logging.getLogger(__name__)

INTERVAL = 1.0

WITHOUT_ADAPTER = frozenset(
    {JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.QUEUED, JobState.PAUSED}
)
"""States in which a job has no adapter, and no process that may still add one."""

Retire = Callable[[str], Awaitable[None]]
"""Takes an adapter, by its id, out of service."""


class Supervision:
    """`step` does all that can be done now; `run` repeats it and reacts to `wake` at once.

    It sets `wake` itself when it has something new to do.
    """

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        runner: Runner,
        settings: Settings,
        load_tokenizer: TokenizerLoader,
        *,
        wake: asyncio.Event | None = None,
        backoff: Backoff | None = None,
        retire: Retire | None = None,
        poll_seconds: float = 2.0,
        lease_seconds: float = 15.0,
    ) -> None:
        self._database = database
        self._settings = settings
        self._retire = retire
        self._lease = Lease(database, "fine-tunes", seconds=lease_seconds)
        self._runs = Runs(self._owned, runner, settings, poll_seconds=poll_seconds)
        self._wake = wake or asyncio.Event()
        self.validations = Validations(
            database,
            self._owned,
            Intake(database, artifacts, runner, settings, load_tokenizer),
            self._wake,
            backoff or Backoff(),
        )

    async def run(self) -> None:
        """Go on until cancelled. Setting `wake` says that something may have changed."""
        # Two loops: the end of a job must not wait for an answer of the cluster.
        woken = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(self._look_after_all, woken))
                group.create_task(self._repeat(self._settle_alone, self._wake, then=woken))
        finally:
            await self.validations.close()

    async def step(self) -> bool:
        """One look at every job. Returns False where another process is the owner."""
        try:
            if not await self._lease.renew():
                return False
            await self._settle()
            await self._look_after()
        except LeaseLost:
            return False
        return True

    async def _repeat(
        self,
        work: Callable[[], Awaitable[None]],
        wake: asyncio.Event,
        *,
        then: asyncio.Event | None = None,
    ) -> None:
        while True:
            wake.clear()
            try:
                await work()
            except (LeaseLost, Unavailable) as error:
                log.warning("fine-tunes not looked after: %r", error)
            except Exception:
                log.exception("fine-tunes not looked after")
            if await happens(wake, INTERVAL) and then is not None:
                then.set()

    async def _look_after_all(self) -> None:
        if await self._lease.renew():
            await self._look_after()

    async def _settle_alone(self) -> None:
        if self._lease.taken:
            await self._settle()

    @contextlib.asynccontextmanager
    async def _owned(self) -> AsyncIterator[AsyncSession]:
        async with self._database.begin() as session:
            await self._lease.hold(session)
            yield session

    async def _settle(self) -> None:
        """End the jobs whose adapters are published or have failed, or never came to be."""
        async with self._database.begin() as session:
            found = await session.execute(
                select(Job.id, Adapter.state, Adapter.error)
                .outerjoin(Adapter, Adapter.id == Job.adapter_id)
                .where(
                    Job.state == JobState.REGISTERING.value,
                    or_(
                        Adapter.state != AdapterState.PUBLISHING,
                        and_(Adapter.id.is_(None), Job.submission_id.is_(None)),
                    ),
                )
            )
            settled = found.all()
        for job_id, state, error in settled:
            async with self._owned() as session:
                job = await seize(session, job_id, states=[JobState.REGISTERING])
                if job is None:
                    continue
                if state == AdapterState.PUBLISHED:
                    message = f"Done: {job.fine_tuned_model} answers."
                    move(session, job, JobState.SUCCEEDED, message)
                else:
                    lost = "The training process ended before it named an adapter."
                    removed = "The adapter was removed before it was published."
                    message = error or (lost if state is None else removed)
                    fail(session, job, "registration_failed", message)

    async def _look_after(self) -> None:
        if not await self._anything():
            return
        await self.validations.step()
        for job in await self._with_submission():
            try:
                await self._runs.look(job)
            except Unavailable as error:
                log.warning("%s not looked after: %s", job.id, error)
            except LeaseLost:
                raise
            except Exception:  # one job's trouble is not the others'
                log.exception("%s not looked after", job.id)
        await self._retire_left()
        await self._start()

    async def _anything(self) -> bool:
        """Whether a job goes on or has left something behind: one question, where most of the time
        seven have no answer."""
        going = select(Job.id).where(
            or_(Job.state.not_in(JOB_LIFECYCLE.terminal), Job.submission_id.is_not(None))
        )
        async with self._database.begin() as session:
            found = await session.scalar(select(or_(going.exists(), _left().exists())))
        return bool(found or self.validations.tasks)

    async def _with_submission(self) -> list[Job]:
        async with self._database.begin() as session:
            query = select(Job).where(Job.submission_id.is_not(None)).order_by(Job.created_at)
            return list(await session.scalars(query))

    async def _start(self) -> None:
        """Start queued jobs while there is room."""
        while job := await self._take_next():
            try:
                await self._runs.submit(job)
            except Unavailable as error:  # its next look submits it, under the same name
                log.warning("%s not submitted yet: %s", job.id, error)
                return

    async def _take_next(self) -> Job | None:
        """Give the next job its attempt. Nothing is submitted that the row does not name."""
        async with self._owned() as session:
            if await occupied(session) >= self._settings.train_concurrent_jobs:
                return None
            models = {row.name: row for row in await session.scalars(select(BaseModelRow))}
            away = [name for name, row in models.items() if may_come_back(row, self._settings)]
            waiting = await next_job(session, away)
            if waiting is None:
                return None
            job = await seize(session, waiting.id, states=[JobState.QUEUED])
            if job is None:
                return None
            base = models.get(job.base_model)
            if base is None or base.removed_at is not None:
                message = f"The base model {job.base_model} is no longer served."
                fail(session, job, "model_not_found", message, param="model")
                return None
            job.attempt += 1
            job.submission_id = submission_id(job.id, job.attempt)
            job.heartbeat_at = now()
            job.started_at = job.started_at or job.heartbeat_at
            move(session, job, JobState.STARTING, f"Starting attempt {job.attempt}.")
        return job

    async def _retire_left(self) -> None:
        """Take adapters out of service that their job has left behind.

        A job that ended otherwise than well has none. Nor has one that waits to be tried again:
        what its last attempt published, it died before it could say so.
        """
        if self._retire is None:
            return
        async with self._database.begin() as session:
            adapters = list(await session.scalars(_left()))
        for adapter_id in adapters:
            await self._retire(adapter_id)


def _left() -> Select[str]:
    """The adapters that are in service though their job has none."""
    return (
        select(Adapter.id)
        .join(Job, Job.id == Adapter.job_id)
        .where(Job.state.in_(WITHOUT_ADAPTER), Adapter.state.in_(WANTED))
    )
