"""What a virtual model adds to each request: a system prompt and parameters."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What the endpoints call the most tokens that an answer may have."""


@dataclass(frozen=True, slots=True)
class Preset:
    """`defaults` hold where the caller says nothing, `fixed` whatever the caller says."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None

    def parameters(
        self, given: Mapping[str, Any], known: Container[str] | None, lengths: Sequence[str]
    ) -> dict[str, Any]:
        """The body `given` with the parameters. One that is not `known` to the endpoint does not
        apply there; all do where None is. The length of an answer applies by whichever of its
        names, as one of `lengths`, those that the endpoint has."""
        body: dict[str, Any] = {}
        for layer in (
            _applied(self.defaults, known, lengths),
            {name: value for name, value in given.items() if value is not None},
            _applied(self.fixed, known, lengths),
        ):
            if not layer.keys().isdisjoint(LENGTHS):  # else one name would stand beside another
                body = {name: value for name, value in body.items() if name not in LENGTHS}
            body |= layer
        return body


def _applied(
    parameters: Mapping[str, Any], known: Container[str] | None, lengths: Sequence[str]
) -> dict[str, Any]:
    bounds = {name: parameters[name] for name in LENGTHS if name in parameters}
    own = {name: value for name, value in bounds.items() if name in lengths}
    if bounds and lengths and not own:
        own = {lengths[0]: next(iter(bounds.values()))}
    others = {
        name: value
        for name, value in parameters.items()
        if name not in LENGTHS and (known is None or name in known)
    }
    return {**others, **own}
