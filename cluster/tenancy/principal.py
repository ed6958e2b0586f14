"""Who a request is made for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cluster.errors import Forbidden


class Scope(StrEnum):
    """What a key may do. ADMIN includes the others."""

    INFERENCE = "inference"
    TRAIN = "train"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Limits:
    """A plan's limits. None is no limit."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return (
            self.requests_per_minute is None
            and self.tokens_per_minute is None
            and self.requests_per_day is None
            and self.max_concurrent is None
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """The organization, project and key behind a request, with all that admission needs."""

    organization_id: str
    organization_slug: str
    project_id: str
    key_id: str
    scopes: frozenset[Scope]
    limits: Limits
    cache_salt: str
    expires_at: datetime | None = None

    def require(self, scope: Scope) -> None:
        """Raises Forbidden unless the key has `scope`."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"This key lacks the scope {scope.value!r} (it has: {held}).")
