"""What was spent by an organization or by one of its keys: the truth behind budgets."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, cast, func, select

from cluster.store.schema import UsageEvent, now
from cluster.store.sql import Database
from cluster.tenancy.budget import Budget
from cluster.tenancy.limiter import MOST_SPENT, Cost


async def spent(
    database: Database,
    organization_id: str,
    key_id: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Cost:
    """By requests that started in [since, until); None is no bound, and no `key_id` all keys.

    A shadow's copies are nobody's request: no budget pays for them.
    """
    # Databases fail where a sum of integers is too large; doubles are as exact up to MOST_SPENT.
    cost = cast(UsageEvent.cost, Double)
    tokens = cast(UsageEvent.prompt_tokens, Double) + cast(UsageEvent.completion_tokens, Double)
    query = select(func.coalesce(func.sum(cost), 0), func.coalesce(func.sum(tokens), 0)).where(
        UsageEvent.organization_id == organization_id, UsageEvent.shadow_of.is_(None)
    )
    if key_id is not None:
        query = query.where(UsageEvent.key_id == key_id)
    if since is not None:
        query = query.where(UsageEvent.started_at >= since)
    if until is not None:
        query = query.where(UsageEvent.started_at < until)
    async with database.begin() as session:
        usd, used = (await session.execute(query)).one()
    return Cost(int(min(usd, MOST_SPENT)), int(min(used, MOST_SPENT)))


async def spent_of(
    database: Database, organization_id: str, key_id: str | None, budget: Budget | None
) -> Cost | None:
    """Of a budget, in the present day or month."""
    if budget is None:
        return None
    window = budget.window(now())
    return await spent(database, organization_id, key_id, window.start, window.end)
