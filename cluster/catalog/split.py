"""How callers are shared out among weighted names, so that each meets the same one again.

Weighted rendezvous hashing by the logarithmic method (Schindelhauer and Schomaker, "Weighted
Distributed Hash Tables", 2005): a change of one weight moves callers to or from that name only, so
that a growing canary keeps those whom it has.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    model: str
    weight: float
    """Its share, relative to the others'. 0 is a target that nobody is led to."""


def ranked(targets: Iterable[Target], known: Container[str], seed: str, token: str) -> list[str]:
    """Those of the targets that are `known` and weigh anything: the caller's own first."""
    scores = [
        (_score(target, seed, token), target.model)
        for target in targets
        if target.weight > 0 and target.model in known
    ]
    return [model for _, model in sorted(scores)]


def _score(target: Target, seed: str, token: str) -> float:
    digest = hashlib.sha256(f"{seed}\0{target.model}\0{token}".encode()).digest()
    # In (0, 1], evenly: exponentially distributed, with the weight as its rate.
    even = (int.from_bytes(digest[:7]) + 1) / 2**56
    return -math.log(even) / target.weight
