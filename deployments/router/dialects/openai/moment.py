"""A moment in a request: a date and time with its zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it must be in the years 1 to 9999") from None


Utc = Annotated[AwareDatetime, AfterValidator(_utc)]
