"""What an organization used, by day and model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import BigInteger, ColumnElement, Date, case, cast, func, select, true

from cluster.store.schema import UsageEvent
from cluster.store.sql import Database

GONE = 499
"""The status of a caller who left before the end."""


@dataclass(frozen=True)
class Total:
    """The sum of one model's requests on one day (UTC); no model is "".

    `requests` are those that the model answered, also where the caller left before the end;
    `failed` are all others. A stream that the engine broke off is one of these, though its answer
    began with status 200.
    """

    day: date
    model: str
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost: int
    """In nano-dollars."""


async def totals(
    database: Database,
    organization_id: str,
    since: datetime,
    until: datetime,
    *,
    endpoints: Collection[str] | None = None,
) -> Sequence[Total]:
    """Sums of what started in [since, until), the newest day first; None is all endpoints.

    Copies for a shadow, which cost nobody anything, are not in them.
    """
    day: ColumnElement[date]
    if database.url.startswith("sqlite"):
        day = func.date(UsageEvent.started_at, type_=Date)
    else:
        day = cast(func.timezone("UTC", UsageEvent.started_at), Date)
    whole = (UsageEvent.status < 400) & UsageEvent.error_code.is_(None)
    tokens = UsageEvent.prompt_tokens + UsageEvent.completion_tokens
    answered = whole | ((UsageEvent.status == GONE) & (tokens > 0))
    query = (
        select(
            day,
            UsageEvent.model,
            func.sum(case((answered, 1), else_=0)),
            func.sum(case((answered, 0), else_=1)),
            func.sum(UsageEvent.prompt_tokens),
            func.sum(UsageEvent.completion_tokens),
            func.sum(UsageEvent.cached_tokens),
            cast(func.sum(UsageEvent.cost), BigInteger),  # PostgreSQL's sum is a Decimal
        )
        .where(
            UsageEvent.organization_id == organization_id,
            UsageEvent.started_at >= since,
            UsageEvent.started_at < until,
            UsageEvent.shadow_of.is_(None),
        )
        .where(true() if endpoints is None else UsageEvent.endpoint.in_(endpoints))
        .group_by(day, UsageEvent.model)
        .order_by(day.desc(), UsageEvent.model)
    )
    async with database.begin() as session:
        return [Total(*row) for row in await session.execute(query)]
