"""An alias: a name that stands for weighted others, and who of its callers gets which."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from cluster.catalog.caller import Caller, Sticky
from cluster.catalog.split import Target, ranked


@dataclass(frozen=True, slots=True)
class Shadow:
    """Who gets a copy of so many of the requests; what it answers is measured and thrown away."""

    model: str
    share: float
    """Of all requests, above 0 and up to 1."""


@dataclass(frozen=True, slots=True)
class Alias:
    id: str
    name: str
    version: int
    targets: tuple[Target, ...]
    sticky: Sticky
    created: int
    """Unix time."""
    shadow: Shadow | None = None

    def pick(self, caller: Caller, known: Container[str]) -> str | None:
        """The model for `caller`, of those that are `known`; None where there is none."""
        return next(iter(ranked(self.targets, known, self.id, caller.token(self.sticky))), None)

    def shadowed_by(self, caller: Caller, known: Container[str]) -> str | None:
        """The model that gets a copy of this very request, if any does."""
        if self.shadow is None:
            return None
        # Hashed like the rest: whether it is copied depends on nothing but the request's id.
        shares = (Target(self.shadow.model, self.shadow.share), Target("", 1 - self.shadow.share))
        chosen = ranked(shares, {self.shadow.model, ""}, f"{self.id} shadow", caller.request)[0]
        return chosen if chosen in known else None
