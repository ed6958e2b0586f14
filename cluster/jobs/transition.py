"""The one place that moves a job: lock its row, check the move, write the event with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.identifiers import new_id
from cluster.jobs.journal import Level
from cluster.jobs.states import JOB_LIFECYCLE, JobState
from cluster.store.schema import Job, JobEvent, now


async def seize(
    session: AsyncSession,
    job_id: str,
    *,
    organization_id: str | None = None,
    attempt: int | None = None,
    states: Collection[JobState] | None = None,
) -> Job | None:
    """The job's present row, locked until the transaction ends; None unless it fits.

    The write comes before the read on purpose: it is what locks, on SQLite as on PostgreSQL.
    """
    touch = update(Job).where(Job.id == job_id).values(updated_at=now())
    if organization_id is not None:
        touch = touch.where(Job.organization_id == organization_id)
    if attempt is not None:
        touch = touch.where(Job.attempt == attempt)
    if states is not None:
        touch = touch.where(Job.state.in_([state.value for state in states]))
    found = await session.scalar(
        touch.returning(Job.id).execution_options(synchronize_session=False)
    )
    return None if found is None else await session.get(Job, job_id, populate_existing=True)


def append(
    session: AsyncSession,
    job: Job,
    message: str,
    *,
    level: Level = "info",
    kind: str = "message",
    data: dict[str, Any] | None = None,
) -> None:
    """Add an event to the transaction that changes the job."""
    session.add(
        JobEvent(
            id=new_id("ftevent-"),
            job_id=job.id,
            at=now(),
            level=level,
            type=kind,
            message=message,
            data=data,
        )
    )


def move(
    session: AsyncSession,
    job: Job,
    state: JobState,
    message: str,
    *,
    level: Level = "info",
    data: dict[str, Any] | None = None,
) -> None:
    """Change the state of a job from `seize`. Raises Conflict for a move not in the table."""
    JOB_LIFECYCLE.check(JobState(job.state), state)
    job.state = state.value
    if JOB_LIFECYCLE.is_terminal(state):
        job.finished_at = now()
    append(session, job, message, level=level, data={"state": state.value} | (data or {}))


def fail(
    session: AsyncSession,
    job: Job,
    code: str,
    message: str,
    *,
    param: str | None = None,
    state: JobState = JobState.FAILED,
) -> None:
    """End a job with a reason its owner can read."""
    job.error_code, job.error_message, job.error_param = code, message, param
    move(session, job, state, message, level="error", data={"code": code, "param": param})
