"""A budget: so much money or so many tokens in a day, in a month, or ever."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from cluster.errors import InvalidRequest
from cluster.usage.money import NANOS, dollars

LARGEST_USD = 1_000_000 * NANOS
LARGEST_TOKENS = 10**15
"""Admission's arithmetic is exact up to there, and somewhat beyond."""


class Period(StrEnum):
    """Days and months are those of the calendar in UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Window:
    """The time that one account of a budget is about. None is no bound."""

    name: str
    start: datetime | None = None
    end: datetime | None = None


EVER = Window("total")


@dataclass(frozen=True, slots=True)
class Budget:
    """`usd` is in nano-dollars; None is no bound of that kind.

    The id names its accounts: one that was lifted and is set again has spent what SQL says, not
    what was counted before.
    """

    id: str
    period: Period
    usd: int | None = None
    tokens: int | None = None

    def window(self, at: datetime) -> Window:
        """The account's time that `at` is in."""
        if self.period is Period.TOTAL:
            return EVER
        today = at.astimezone(UTC).date()
        if self.period is Period.DAY:
            start = datetime.combine(today, time(), UTC)
            return Window(today.isoformat(), start, start + timedelta(days=1))
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        start, end = (datetime.combine(day, time(), UTC) for day in (first, following))
        return Window(f"{first:%Y-%m}", start, end)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "period": self.period.value, "usd": self.usd, "tokens": self.tokens}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any] | None) -> Budget | None:
        if kept is None:
            return None
        return cls(kept["id"], Period(kept["period"]), kept["usd"], kept["tokens"])


@dataclass(frozen=True, slots=True)
class Terms:
    """A budget as somebody asks for it."""

    period: Period
    usd: int | None = None
    tokens: int | None = None


def new_budget(terms: Terms, before: Budget | None = None) -> Budget:
    """In the place of `before`, whose accounts it goes on with where they are about the same time.

    Raises InvalidRequest.
    """
    usd, tokens = terms.usd, terms.tokens
    if usd is None and tokens is None:
        raise InvalidRequest("A budget needs usd, tokens or both.", param="budget.usd")
    if usd is not None and not 0 <= usd <= LARGEST_USD:
        raise InvalidRequest(
            f"budget.usd is {dollars(usd)}; allowed are 0 to {dollars(LARGEST_USD)}, or null.",
            param="budget.usd",
        )
    if tokens is not None and not 0 <= tokens <= LARGEST_TOKENS:
        raise InvalidRequest(
            f"budget.tokens is {tokens}; allowed are 0 to {LARGEST_TOKENS}, or null.",
            param="budget.tokens",
        )
    goes_on = before is not None and before.period is terms.period
    kept = before.id if before is not None and goes_on else secrets.token_hex(6)
    return Budget(kept, terms.period, usd, tokens)
