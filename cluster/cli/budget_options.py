"""The options of commands that take a budget."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from cluster.tenancy.budget import Period


def money(text: str) -> str:
    """An amount of US dollars, as it is sent."""
    try:
        if Decimal(text) >= 0:
            return text
    except InvalidOperation:
        pass
    raise typer.BadParameter(f"{text!r} is no amount of US dollars, such as 12.50")


Usd = Annotated[str | None, typer.Option(parser=money, metavar="USD", help="Of money.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="Of prompts and answers.")]
Per = Annotated[
    Period | None, typer.Option(help="Of the calendar (UTC), or ever. [default: month]")
]


def budget(usd: str | None, tokens: int | None, period: Period | None) -> dict[str, Any] | None:
    """The body's budget; None where none is given."""
    if usd is None and tokens is None:
        if period is not None:
            raise typer.BadParameter("a budget needs an amount of money or of tokens")
        return None
    return {"period": (period or Period.MONTH).value, "usd": usd, "tokens": tokens}
