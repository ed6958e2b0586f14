"""The models that a key may name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.errors import InvalidRequest

MOST = 100
LONGEST = 255


@dataclass(frozen=True, slots=True)
class AllowedModels:
    """Names as callers write them; one that ends in `*` stands for all that begin like it."""

    patterns: tuple[str, ...]
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _beginnings: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = frozenset(name for name in self.patterns if not name.endswith("*"))
        begun = tuple(name[:-1] for name in self.patterns if name.endswith("*"))
        object.__setattr__(self, "_names", whole)
        object.__setattr__(self, "_beginnings", begun)

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.startswith(self._beginnings)


def checked_patterns(patterns: Sequence[str]) -> list[str]:
    """Without what is said twice. Raises InvalidRequest."""
    if not patterns:
        raise InvalidRequest(
            "models is empty: name at least one, or give null for all models.", param="models"
        )
    if len(patterns) > MOST:
        raise InvalidRequest(
            f"models has {len(patterns)} members; at most {MOST} are taken.", param="models"
        )
    for index, pattern in enumerate(patterns):
        if not 1 <= len(pattern) <= LONGEST or "*" in pattern[:-1]:
            raise InvalidRequest(
                f"models[{index}] is {pattern[:LONGEST]!r}; it must be a name of 1 to {LONGEST} "
                "characters, in which * may stand at the end only.",
                param=f"models[{index}]",
            )
    return list(dict.fromkeys(patterns))


def allowed_models(patterns: Iterable[str] | None) -> AllowedModels | None:
    """None is all models."""
    return None if patterns is None else AllowedModels(tuple(patterns))
