"""One request, whatever came of it."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from math import isfinite
from typing import Any, get_args, get_type_hints

TEXT_LONGEST = 255
LARGEST = 2**31 - 1
LARGEST_COST = 2**63 - 1
"""What the columns hold. Text is cut, since nobody wants to lose a row to a long `user`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """The row `schema.UsageEvent` on its way. `request_id` must be the router's own: it is what
    makes the row unique."""

    request_id: str
    organization_id: str
    project_id: str
    key_id: str
    endpoint: str
    model: str
    base_model: str | None = None
    adapter_digest: str | None = None
    stream: bool
    status: int
    error_code: str | None = None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cost: int = 0
    """In nano-dollars."""
    latency_ms: float
    ttft_ms: float | None = None
    end_user: str | None = None
    shadow_of: str | None = None
    started_at: datetime

    def to_json(self) -> str:
        values = {name: getattr(self, name) for name in KINDS}
        values["started_at"] = self.started_at.isoformat()
        present = {name: value for name, value in values.items() if value is not None}
        return json.dumps(present, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> UsageEvent:
        """Raises ValueError that says what is wrong."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        try:
            values["started_at"] = datetime.fromisoformat(values["started_at"])
            event = cls(**values)
        except (TypeError, KeyError) as error:
            raise ValueError(f"wrong fields: {error}") from error
        event.check()
        return event

    @classmethod
    def from_fields(cls, message: Mapping[bytes, bytes]) -> UsageEvent:
        """Of a message in the Redis stream. Raises ValueError that says what is wrong."""
        if b"event" not in message:
            raise ValueError("no field 'event'")
        return cls.from_json(message[b"event"])

    def check(self) -> None:
        """Raises ValueError where a value would not fit its column."""
        for name, kinds in KINDS.items():
            value = getattr(self, name)
            if type(value) not in kinds:
                raise ValueError(f"{name} is {value!r}")
            largest = LARGEST_COST if name == "cost" else LARGEST
            if type(value) is int and not 0 <= value <= largest:
                raise ValueError(f"{name} is {value}, out of range")
            if type(value) is float and not isfinite(value):
                raise ValueError(f"{name} is {value}")
        if self.started_at.tzinfo is None:
            raise ValueError("started_at has no time zone")

    def row(self) -> dict[str, Any]:
        """The values of the columns."""
        values = {name: getattr(self, name) for name in KINDS}
        return {
            name: _storable(value) if isinstance(value, str) else value
            for name, value in values.items()
        }


def _storable(text: str) -> str:
    """Text that every database takes: no NUL, no half characters, not too long."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:TEXT_LONGEST]


def _kinds() -> dict[str, tuple[type, ...]]:
    """Each field with the exact types that its values may have."""
    hints = get_type_hints(UsageEvent)
    kinds = {}
    for field in fields(UsageEvent):
        hint = hints[field.name]
        allowed = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        kinds[field.name] = (*allowed, int) if float in allowed else tuple(allowed)
    return kinds


KINDS = _kinds()
