"""A virtual model: a project's own name for models of others, with a prompt and parameters."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from cluster.catalog.caller import Caller
from cluster.catalog.preset import Preset
from cluster.catalog.split import Target, ranked


class Strategy(StrEnum):
    """Who is asked first. The others are its fallbacks."""

    FALLBACK = "fallback"
    """The first one that is there, in the order given."""
    WEIGHTED = "weighted"
    """One by weight, for each request anew."""


@dataclass(frozen=True, slots=True)
class VirtualModel:
    id: str
    project_id: str
    name: str
    version: int
    strategy: Strategy
    targets: tuple[Target, ...]
    preset: Preset
    patience: float | None
    """Seconds until the first token, after which the next target is asked."""
    created: int
    """Unix time."""

    def order(self, caller: Caller, known: Container[str]) -> list[str]:
        """The targets that are `known`, in the order in which this request asks them."""
        if self.strategy is Strategy.WEIGHTED:
            return ranked(self.targets, known, self.id, caller.request)
        return [target.model for target in self.targets if target.model in known]
