"""Whose job starts next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.jobs.states import JobState
from cluster.store.schema import Job

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Waiting:
    """An organization with a job in the queue."""

    organization_id: str
    oldest: datetime
    running: int = 0
    last_started: datetime = NEVER


def fairest(waiting: list[Waiting]) -> Waiting | None:
    """Who runs least; of those, who was served longest ago; of those, who waits longest."""
    return min(
        waiting,
        key=lambda w: (w.running, w.last_started, w.oldest, w.organization_id),
        default=None,
    )


async def occupied(session: AsyncSession) -> int:
    """Jobs with a Ray Job that has not been seen to end, even if they have moved on from it."""
    count = await session.scalar(
        select(func.count()).select_from(Job).where(Job.submission_id.is_not(None))
    )
    return count or 0


async def next_job(session: AsyncSession, away: Collection[str]) -> Job | None:
    """The oldest job of the organization whose turn it is.

    Jobs for the base models in `away` wait, and let the others pass.
    """
    ready = (Job.state == JobState.QUEUED.value) & Job.submission_id.is_(None)
    ready &= Job.base_model.not_in(away)
    oldest = await session.execute(
        select(Job.organization_id, func.min(Job.created_at))
        .where(ready)
        .group_by(Job.organization_id)
    )
    ages = {row[0]: row[1] for row in oldest.all()}
    served = await session.execute(
        select(
            Job.organization_id,
            func.count(Job.submission_id),  # counts those that are not null
            func.max(Job.started_at),
        )
        .where(Job.organization_id.in_(ages))
        .group_by(Job.organization_id)
    )
    waiting = [
        Waiting(organization, ages[organization], running, last or NEVER)
        for organization, running, last in served
    ]
    turn = fairest(waiting)
    if turn is None:
        return None
    job: Job | None = await session.scalar(
        select(Job)
        .where(ready, Job.organization_id == turn.organization_id)
        .order_by(Job.created_at, Job.id)
        .limit(1)
    )
    return job
