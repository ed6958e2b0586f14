"""Whose limits a request has to keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cluster.tenancy.budget import Budget
from cluster.tenancy.limiter import DAY, MINUTE, Account, Cost, Rate, Subject
from cluster.tenancy.principal import Limits, Principal

RPM, RPD, TPM = "requests_per_minute", "requests_per_day", "tokens_per_minute"
COSTLIEST = 2**50
"""More than any budget has, and little enough for Redis to add."""


def subjects_of(principal: Principal, cost: Cost, at: datetime) -> tuple[Subject, ...]:
    """The organization, then the key: each only where it limits anything."""
    return tuple(
        Subject(name, limits.max_concurrent, tuple(_rates(limits, cost)), account(budget, cost, at))
        for name, limits, budget in (
            (principal.organization_id, principal.limits, principal.budget),
            (principal.key_id, principal.key_limits, principal.key_budget),
        )
        if budget is not None or not limits.none
    )


def account(budget: Budget | None, cost: Cost, at: datetime) -> Account | None:
    """The account that a request which starts at `at` is charged to."""
    if budget is None:
        return None
    window = budget.window(at)
    most = Cost(min(cost.usd, COSTLIEST), min(cost.tokens, COSTLIEST))
    return Account(f"{budget.id}:{window.name}", budget.usd, budget.tokens, most, window)


def _rates(limits: Limits, cost: Cost) -> Iterator[Rate]:
    if limits.requests_per_minute is not None:
        yield Rate(RPM, limits.requests_per_minute, MINUTE, 1)
    if limits.requests_per_day is not None:
        yield Rate(RPD, limits.requests_per_day, DAY, 1)
    if limits.tokens_per_minute is not None:
        yield Rate(TPM, limits.tokens_per_minute, MINUTE, cost.tokens, settles=True)
