"""The reconciliation of one job with the process that works on it, or should no longer.

Each decision is one transaction: what has changed since the row was read makes it void. A crash
between two of them leaves a row from which the next look goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from cluster.jobs.runner import ENDED, Runner, RunStatus
from cluster.jobs.states import HELD, JOB_LIFECYCLE, RUNNING, JobState
from cluster.jobs.transition import append, fail, move, seize
from cluster.settings import Settings
from cluster.store.schema import Job, now

Transaction = Callable[[], AbstractAsyncContextManager[AsyncSession]]
"""Opens a transaction that commits only for the owner of the lease."""

LOG_LINES = 200
REASON_CHARACTERS = 500
ERROR_LINE = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:$|[:(])")
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
RAY_PREFIX = re.compile(r"^\s*\([^()]*(?:\([^()]*\))?[^()]*\bpid=\d+[^()]*\)")
"""Before what workers print: `(RayTrainWorker pid=1)`, `(train(rank=0) pid=1, ip=10.0.0.1)`."""
SHELL_SIGNAL = 128
STOP_PATIENCE = 120.0
"""Seconds after which a run that does not end is left to its fence: it can write nothing."""
STOP_AGAIN = 10.0


class Runs:
    """Looks at jobs that have a submission. Remembers only what it may forget in a crash."""

    def __init__(
        self,
        transaction: Transaction,
        runner: Runner,
        settings: Settings,
        *,
        poll_seconds: float = 2.0,
    ) -> None:
        self._transaction = transaction
        self._runner = runner
        self._settings = settings
        self._poll_seconds = poll_seconds
        self._submitted: set[str] = set()
        self._polled: dict[str, float] = {}
        self._stop_first: dict[str, float] = {}
        self._stop_last: dict[str, float] = {}

    async def submit(self, job: Job) -> None:
        """Start the job's present attempt; an answer that is lost is looked for by `look`."""
        submission = await self._runner.submit(job.id, job.attempt)
        self._submitted.add(submission)

    async def look(self, job: Job) -> None:
        """Do what `job` needs now. Raises Unavailable where the cluster does not answer."""
        submission, state = job.submission_id, JobState(job.state)
        assert submission is not None
        # With an adapter the training is done: its publication has a patience of its own.
        if state in HELD and job.adapter_id is None and self._too_long(job):
            await self._time_out(job)
            state = JobState.TIMED_OUT
        leaving = state not in HELD
        urgent = leaving or job.pause_requested or self._silent(job)
        if (
            not urgent
            and time.monotonic() - self._polled.get(submission, -1e9) < self._poll_seconds
        ):
            return
        status = await self._runner.status(submission)
        self._polled[submission] = time.monotonic()
        if leaving:
            await self._end(job, submission, status)
        elif state is JobState.REGISTERING:
            if status in ENDED:
                await self._release(job, submission)
        elif status is RunStatus.UNKNOWN and self._never_submitted(job, submission):
            await self.submit(job)
        elif status in ENDED:
            await self._lost(job, await self._reason(submission, status), status)
        elif job.pause_requested and state is not JobState.SAVING:
            await self._pause(job, submission, status)
        elif self._silent(job):
            await self._silence(job, submission, status)

    def _never_submitted(self, job: Job, submission: str) -> bool:
        return job.state == JobState.STARTING and submission not in self._submitted

    def _too_long(self, job: Job) -> bool:
        limit = timedelta(seconds=self._settings.train_timeout)
        return job.started_at is not None and now() - job.started_at > limit

    def _silent(self, job: Job) -> bool:
        return job.heartbeat_at is None or now() - job.heartbeat_at > self._patience(job)

    def _patience(self, job: Job) -> timedelta:
        # A busy machine takes minutes to start workers, and they speak only once they run.
        starting = job.state == JobState.STARTING
        limits = self._settings
        return timedelta(
            seconds=limits.train_start_timeout if starting else limits.train_heartbeat_timeout
        )

    async def _time_out(self, job: Job) -> None:
        message = f"Stopped at the time limit of {self._settings.train_timeout:.0f} s."
        async with self._transaction() as session:
            row = await seize(session, job.id, attempt=job.attempt, states=HELD)
            if row is None or row.adapter_id is not None:
                return
            fail(session, row, "timed_out", message, state=JobState.TIMED_OUT)

    async def _pause(self, job: Job, submission: str, status: RunStatus) -> None:
        if status is RunStatus.PENDING:
            # It can't be stopped and has done nothing: the fence ends it when it starts.
            await self._rest(job)
        else:
            await self._stop(submission)

    async def _silence(self, job: Job, submission: str, status: RunStatus) -> None:
        if status is RunStatus.PENDING:
            # Waiting for room is no silence; the clock runs from when the process starts.
            async with self._transaction() as session:
                row = await seize(session, job.id, attempt=job.attempt, states=RUNNING)
                if row is not None:
                    row.heartbeat_at = now()
            return
        seconds = self._patience(job).total_seconds()
        await self._lost(job, f"The training gave no sign of life for {seconds:.0f} s.", status)

    async def _rest(self, job: Job) -> None:
        async with self._transaction() as session:
            row = await seize(session, job.id, attempt=job.attempt, states=RUNNING)
            if row is not None and _pausable(row):
                _pause(session, row)

    async def _lost(self, job: Job, reason: str, status: RunStatus) -> None:
        """A run has ended, or is as good as dead, whose job has not ended."""
        async with self._transaction() as session:
            row = await seize(session, job.id, attempt=job.attempt, states=RUNNING)
            if row is None:  # it ended well in the meantime, or somebody cancelled it
                return
            if _pausable(row):
                _pause(session, row)
            else:
                self._retry_or_fail(session, row, reason, status)
            if status in ENDED:
                row.submission_id = None

    def _retry_or_fail(
        self, session: AsyncSession, row: Job, reason: str, status: RunStatus
    ) -> None:
        # A run that a new cluster does not know was ended by a restart: no fault of the job's.
        row.failures += status is not RunStatus.UNKNOWN
        row.pause_requested = False
        if row.failures >= self._settings.train_max_attempts:
            message = f"Given up after {row.failures} failed attempts. {reason}"
            fail(session, row, "training_failed", message)
            return
        append(session, row, f"Attempt {row.attempt} was lost. {reason}", level="warn")
        move(
            session,
            row,
            JobState.QUEUED,
            "Queued again, to go on from the last checkpoint if there is one.",
            level="warn",
        )

    async def _end(self, job: Job, submission: str, status: RunStatus) -> None:
        """Stop a run that its job has left behind, and forget it once it has ended."""
        if status in ENDED or status is RunStatus.PENDING:
            if status is RunStatus.PENDING:
                await self._stop(submission)
            await self._release(job, submission)
            return
        await self._stop(submission)
        if time.monotonic() - self._stop_first[submission] > STOP_PATIENCE:
            await self._release(job, submission)

    async def _stop(self, submission: str) -> None:
        moment = time.monotonic()
        if moment - self._stop_last.get(submission, -1e9) < STOP_AGAIN:
            return
        await self._runner.stop(submission)
        self._stop_first.setdefault(submission, moment)
        self._stop_last[submission] = moment

    async def _release(self, job: Job, submission: str) -> None:
        async with self._transaction() as session:
            row = await seize(session, job.id, attempt=job.attempt)
            if row is not None and row.submission_id == submission:
                row.submission_id = None
        for memory in (self._polled, self._stop_first, self._stop_last):
            memory.pop(submission, None)
        self._submitted.discard(submission)

    async def _reason(self, submission: str, status: RunStatus) -> str:
        if status is RunStatus.UNKNOWN:
            return "The cluster was started anew and does not know the training process."
        if status is RunStatus.SUCCEEDED:
            return "The training process ended without a result."
        signal = killed_by(await self._runner.exit_code(submission))
        if signal is not None:
            return f"The training process ended. It was killed by signal {signal}."
        error = last_error(await self._runner.tail(submission, LOG_LINES))
        return f"The training process ended{f': {error}' if error else ' without a message.'}"


def _pausable(row: Job) -> bool:
    return row.pause_requested and JOB_LIFECYCLE.allows(JobState(row.state), JobState.PAUSED)


def _pause(session: AsyncSession, row: Job) -> None:
    row.pause_requested = False
    move(session, row, JobState.PAUSED, f"Paused at step {row.step}.")


def last_error(log: str) -> str | None:
    """The last exception's line, trimmed. Others may be anything: they are no reason."""
    lines = (RAY_PREFIX.sub("", ESCAPE.sub("", line)).strip() for line in log.splitlines())
    errors = [line for line in lines if ERROR_LINE.match(line)]
    if not errors:
        return None
    last = errors[-1]
    return last if len(last) <= REASON_CHARACTERS else last[: REASON_CHARACTERS - 1] + "…"


def killed_by(exit_code: int | None) -> int | None:
    """The number of the signal that ended a process, as Popen tells it or as a shell does."""
    if exit_code is None or 0 <= exit_code <= SHELL_SIGNAL:
        return None
    return -exit_code if exit_code < 0 else exit_code - SHELL_SIGNAL
