"""What a virtual model adds to each request: a system prompt and parameters."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """`defaults` hold where the caller says nothing, `fixed` whatever the caller says."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None

    def parameters(self, given: Mapping[str, Any], known: Container[str] | None) -> dict[str, Any]:
        """The body `given` with the parameters. One that is not `known` to the endpoint, such as
        `max_output_tokens` to that of chats, does not apply there; all do where None is."""
        return {
            **_known(self.defaults, known),
            **{name: value for name, value in given.items() if value is not None},
            **_known(self.fixed, known),
        }


def _known(parameters: Mapping[str, Any], known: Container[str] | None) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if known is None or name in known}
