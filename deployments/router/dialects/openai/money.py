"""Amounts of money and budgets in requests and answers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from cluster.store.schema import now
from cluster.tenancy.budget import Budget, Period, Terms
from cluster.tenancy.limiter import Cost
from cluster.usage.money import dollars, nanos
from deployments.router.dialects.openai.body import Body


def _usd(value: object) -> int:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return nanos(Decimal(str(value)))
        except InvalidOperation:
            pass
    raise ValueError("it must be an amount of US dollars, such as 12.5 or '12.50'")


def _usd_or_null(value: object) -> int | None:
    return None if value is None else _usd(value)


Usd = Annotated[int, PlainValidator(_usd, json_schema_input_type=float | str)]
"""In nano-dollars, once read."""
UsdOrNull = Annotated[
    int | None, PlainValidator(_usd_or_null, json_schema_input_type=float | str | None)
]


class BudgetRequest(Body):
    """A bound of money, of tokens or of both, for each day, each month (UTC) or for ever."""

    period: Period
    usd: UsdOrNull = None
    tokens: int | None = Field(None, strict=True)

    def terms(self) -> Terms:
        return Terms(self.period, self.usd, self.tokens)


def show_budget(budget: Budget | None) -> dict[str, Any] | None:
    """As it was given; amounts of money are texts, which lose no digit."""
    if budget is None:
        return None
    return {
        "period": budget.period.value,
        "usd": None if budget.usd is None else dollars(budget.usd),
        "tokens": budget.tokens,
    }


def show_spent(budget: Budget | None, spent: Cost | None) -> dict[str, Any] | None:
    """The same with what is gone of it, as far as usage has been recorded."""
    shown = show_budget(budget)
    if budget is None or shown is None or spent is None:
        return shown
    end = budget.window(now()).end
    return {
        **shown,
        "spent_usd": dollars(spent.usd),
        "spent_tokens": spent.tokens,
        "resets_at": None if end is None else int(end.timestamp()),
    }
