"""The judgements of new jobs' data that are under way."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import select

from cluster.errors import Unavailable
from cluster.jobs.backoff import Backoff
from cluster.jobs.intake import Intake, Rejection, Verdict
from cluster.jobs.runs import Transaction
from cluster.jobs.states import JobState
from cluster.jobs.transition import seize
from cluster.store.schema import Job
from cluster.store.sql import Database

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Files that are read at the same time."""
PATIENCE = 900.0
"""Seconds of nothing but failures, after which a job is told what is missing and ends."""


class Validations:
    """Judges the oldest jobs first. One that can't be judged yet lets the others pass.

    Sets `wake` when there is a verdict to write.
    """

    def __init__(
        self,
        database: Database,
        transaction: Transaction,
        intake: Intake,
        wake: asyncio.Event,
        backoff: Backoff,
    ) -> None:
        self._database = database
        self._transaction = transaction
        self._intake = intake
        self._wake = wake
        self._backoff = backoff
        self.tasks: dict[str, asyncio.Task[Verdict]] = {}

    async def step(self) -> None:
        """Write the verdicts that are ready, then begin on jobs without one."""
        for job_id, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[job_id]
                await self._record(job_id, task)
        await self._forget()
        free = AT_ONCE - len(self.tasks)
        for job in await self._next(free) if free > 0 else ():
            task = asyncio.create_task(self._intake.judge(job))
            task.add_done_callback(self._call)
            self.tasks[job.id] = task

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()

    def _call(self, task: asyncio.Task[Verdict]) -> None:
        # Not for a failure: it would be tried again, and fail again, without a pause.
        if not task.cancelled() and task.exception() is None:
            self._wake.set()

    async def _next(self, count: int) -> list[Job]:
        passed_over = {*self.tasks, *self._backoff.waiting}
        async with self._database.begin() as session:
            query = (
                select(Job)
                .where(Job.state == JobState.VALIDATING.value, Job.id.not_in(passed_over))
                .order_by(Job.created_at)
                .limit(count)
            )
            return list(await session.scalars(query))

    async def _forget(self) -> None:
        """Failures of jobs that have moved on since: cancelled ones."""
        failing = set(self._backoff.keys)
        if not failing:
            return
        async with self._database.begin() as session:
            still = await session.scalars(
                select(Job.id).where(Job.id.in_(failing), Job.state == JobState.VALIDATING.value)
            )
            for job_id in failing - set(still):
                self._backoff.forget(job_id)

    async def _record(self, job_id: str, task: asyncio.Task[Verdict]) -> None:
        try:
            verdict = task.result()
        except (Unavailable, OSError) as error:
            log.warning("%s not validated yet: %s", job_id, error)
            if self._backoff.failed(job_id) < PATIENCE:
                return
            verdict = Verdict(_given_up(error))
        except Exception:
            log.exception("%s can't be validated", job_id)
            verdict = Verdict(Rejection("internal_error", "The data could not be read."))
        async with self._transaction() as session:
            job = await seize(session, job_id, states=[JobState.VALIDATING])
            if job is not None:
                verdict.record(session, job)
        self._backoff.forget(job_id)


def _given_up(error: Unavailable | OSError) -> Rejection:
    # What the operating system says may name files of this machine.
    reason = error.message if isinstance(error, Unavailable) else "The data could not be read."
    message = f"Not validated within {PATIENCE / 60:.0f} minutes. {reason}"
    return Rejection(Unavailable.code, message)
