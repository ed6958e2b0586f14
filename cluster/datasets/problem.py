"""What is wrong with a line, in words that help to mend it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Problem:
    """One fault: where it is, what is there (shortened), what may be there."""

    line: int
    field: str | None
    value: str | None
    allowed: str

    @property
    def message(self) -> str:
        place = f"line {self.line}" + (f", {self.field}" if self.field else "")
        found = f" is {self.value};" if self.value is not None else ""
        return f"{place}:{found} {self.allowed}"


class Faulty(Exception):
    """Raised while one row is read: a fault of `field`, not yet tied to a line."""

    def __init__(self, field: str | None, allowed: str, **found: Any) -> None:
        super().__init__(allowed)
        self.field = field
        self.allowed = allowed
        self.value = shortened(found["value"]) if "value" in found else None

    def at(self, line: int) -> Problem:
        return Problem(line, self.field, self.value, self.allowed)


def shortened(value: object) -> str:
    """`value` as JSON in at most SHOWN_CHARACTERS, safe to print."""
    if isinstance(value, str):
        value = value[: SHOWN_CHARACTERS + 1]
    elif isinstance(value, (list, dict)):
        # Large values are named by their size: to spell them out would cost what they weigh.
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)}" if value else f"{kind} with nothing in it"
    try:
        text = json.dumps(value)
    except ValueError:  # an integer of thousands of digits
        return "a number too long to show"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
