"""What a name came to: models of our own or of other providers, and the order to ask them in."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.preset import Preset
from cluster.usage.estimate import LARGE_VOCABULARY


@dataclass(frozen=True, slots=True)
class Route:
    """A model that our own replicas hold. `engine_model` is the name that they know it by."""

    name: str
    base: BaseModel
    engine_model: str
    digest: str | None = None

    @property
    def kind(self) -> ModelKind:
        return self.base.kind

    @property
    def base_name(self) -> str:
        return self.base.name

    @property
    def context_length(self) -> int | None:
        return self.base.context_length

    @property
    def vocabulary(self) -> int:
        return self.base.vocabulary


@dataclass(frozen=True, slots=True)
class Remote:
    """A model of another provider. `name` is `provider/model`, `model` what the provider calls
    it."""

    name: str
    connection_id: str
    model: str
    kind: ModelKind = ModelKind.LLM
    digest: None = None

    @property
    def base_name(self) -> str:
        return self.name

    @property
    def context_length(self) -> int | None:
        """What another provider takes is not known."""
        return None

    @property
    def vocabulary(self) -> int:
        """That of all models that are sold is large."""
        return LARGE_VOCABULARY


Destination = Route | Remote


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to ask: the first of `candidates`, and the others in turn where it can't answer."""

    candidates: tuple[Destination, ...]
    preset: Preset | None = None
    shadow: Destination | None = None
    """Who gets a copy of the request, whose answer nobody sees."""
    patience: float | None = None
    """Seconds until the first token, after which the next candidate is asked."""
