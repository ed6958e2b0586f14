"""An alias: a name that stands for weighted others, and who of its callers gets which."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum


class Sticky(StrEnum):
    """What always meets the same target while the weights stay as they are."""

    NONE = "none"
    KEY = "key"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the request's own id, the key, and the end user that the request names."""

    request: str
    key: str
    user: str | None = None

    def token(self, sticky: Sticky) -> str:
        """What meets the same target again. Without an end user that is the key."""
        if sticky is Sticky.NONE:
            return self.request
        if sticky is Sticky.USER and self.user is not None:
            return f"{self.key}\0{self.user}"
        return self.key


@dataclass(frozen=True, slots=True)
class Target:
    model: str
    weight: float
    """Its share, relative to the others'. 0 is a target that nobody is led to."""


@dataclass(frozen=True, slots=True)
class Alias:
    id: str
    name: str
    version: int
    targets: tuple[Target, ...]
    sticky: Sticky
    created: int
    """Unix time."""

    def pick(self, caller: Caller, known: Container[str]) -> str | None:
        """The model for `caller`, of those that are `known`; None where there is none.

        Weighted rendezvous hashing by the logarithmic method (Schindelhauer and Schomaker,
        "Weighted Distributed Hash Tables", 2005): a change of one weight moves callers to or from
        that target only, so that a growing canary keeps those whom it has.
        """
        token = caller.token(self.sticky)
        scores = (
            (self._score(target, token), target.model)
            for target in self.targets
            if target.weight > 0 and target.model in known
        )
        return min(scores, default=(0.0, None))[1]

    def _score(self, target: Target, token: str) -> float:
        digest = hashlib.sha256(f"{self.id}\0{target.model}\0{token}".encode()).digest()
        # In (0, 1], evenly: exponentially distributed, with the weight as its rate.
        even = (int.from_bytes(digest[:7]) + 1) / 2**56
        return -math.log(even) / target.weight
