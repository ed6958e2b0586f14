"""What an organization used, by day and model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Date, case, cast, func, select, true

from cluster.store.schema import UsageEvent
from cluster.store.sql import Database


@dataclass(frozen=True)
class Total:
    """The sum of one model's requests on one day (UTC).

    A stream that the engine broke off has `failed` too, though its answer began with status 200.
    """

    day: date
    model: str
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


async def totals(
    database: Database,
    organization_id: str,
    since: datetime,
    until: datetime,
    *,
    endpoints: Collection[str] | None = None,
) -> Sequence[Total]:
    """Sums of what started in [since, until), the newest day first; None is all endpoints."""
    day: ColumnElement[date]
    if database.url.startswith("sqlite"):
        day = func.date(UsageEvent.started_at, type_=Date)
    else:
        day = cast(func.timezone("UTC", UsageEvent.started_at), Date)
    failed = (UsageEvent.status >= 400) | UsageEvent.error_code.is_not(None)
    query = (
        select(
            day,
            UsageEvent.model,
            func.count(),
            func.sum(case((failed, 1), else_=0)),
            func.sum(UsageEvent.prompt_tokens),
            func.sum(UsageEvent.completion_tokens),
            func.sum(UsageEvent.cached_tokens),
        )
        .where(
            UsageEvent.organization_id == organization_id,
            UsageEvent.started_at >= since,
            UsageEvent.started_at < until,
        )
        .where(true() if endpoints is None else UsageEvent.endpoint.in_(endpoints))
        .group_by(day, UsageEvent.model)
        .order_by(day.desc(), UsageEvent.model)
    )
    async with database.begin() as session:
        return [Total(*row) for row in await session.execute(query)]
