"""A model that a name stands for, as callers write it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from cluster.catalog.split import Target
from deployments.router.dialects.openai.body import Body


class TargetBody(Body):
    model: str = Field(min_length=1, max_length=255)
    weight: float = Field(1.0, ge=0, le=1e6, allow_inf_nan=False)


def targets_of(given: Sequence[TargetBody]) -> tuple[Target, ...]:
    return tuple(Target(target.model, target.weight) for target in given)
