"""Who asks, as far as it decides what a name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Sticky(StrEnum):
    """What always meets the same target while the weights stay as they are."""

    NONE = "none"
    KEY = "key"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Caller:
    """The request's own id, the key and its project, and the end user that the request names."""

    request: str
    key: str
    user: str | None = None
    project: str | None = None

    def token(self, sticky: Sticky) -> str:
        """What meets the same target again. Without an end user that is the key."""
        if sticky is Sticky.NONE:
            return self.request
        if sticky is Sticky.USER and self.user is not None:
            return f"{self.key}\0{self.user}"
        return self.key
