"""Who a request is made for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from cluster.errors import Forbidden, InvalidRequest, ModelNotAllowed
from cluster.tenancy.allowed_models import AllowedModels
from cluster.tenancy.budget import Budget

LARGEST = 100_000_000
"""Of any limit: admission's arithmetic is exact up to there."""


class Scope(StrEnum):
    """What a key may do. ADMIN includes the others."""

    INFERENCE = "inference"
    TRAIN = "train"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Limits:
    """A plan's limits, or a key's own. None is no limit."""

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


def check_limits(limits: Limits, inside: str = "") -> None:
    """Raises InvalidRequest for one out of range; `inside` is the path of the object it is in."""
    for name, value in asdict(limits).items():
        if value is not None and not 0 <= value <= LARGEST:
            raise InvalidRequest(
                f"{inside}{name} is {value}; allowed are 0 to {LARGEST}, or null for no limit.",
                param=f"{inside}{name}",
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
    budget: Budget | None = None
    """The organization's, as `limits` are."""
    key_limits: Limits = Limits()
    key_budget: Budget | None = None
    models: AllowedModels | None = None
    """None is all."""

    @property
    def unlimited(self) -> bool:
        """Whether admission has nothing to ask."""
        return (
            self.limits.none
            and self.budget is None
            and self.key_limits.none
            and self.key_budget is None
        )

    def require(self, scope: Scope) -> None:
        """Raises Forbidden unless the key has `scope`."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"This key lacks the scope {scope.value!r} (it has: {held}).")

    def may_use(self, model: str) -> bool:
        """Whether the key may name `model`, as a caller writes it."""
        return self.models is None or model in self.models

    def require_model(self, model: str) -> None:
        """Raises ModelNotAllowed, whether or not there is a model of that name."""
        if not self.may_use(model):
            raise ModelNotAllowed(model)
