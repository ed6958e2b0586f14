"""What an adapter's config says of single modules, by PEFT's rules and with the engine's matching.

A pattern is a regular expression that a stranger wrote: all of them together have little time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import regex

PATTERN_SECONDS = 10.0
"""For all matches of one adapter."""
LONGEST_PATTERN = 10_000
ALL_LINEAR = "all-linear"


class BadPattern(Exception):
    """An expression that can't be read, or whose matching takes too long; the text says which."""


class ModuleRules:
    """The rank, the scaling and the choice of modules, from a config whose fields are checked.

    Every method takes a module's path in the model. All raise BadPattern.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._until = time.monotonic() + PATTERN_SECONDS
        self._rank: int = config["r"]
        self._ranks = self._suffixes(config.get("rank_pattern") or {})
        self._alpha: float = config["lora_alpha"]
        self._alphas = self._suffixes(config.get("alpha_pattern") or {})
        self._stabilized = bool(config.get("use_rslora"))
        targets = config["target_modules"]
        self._everything = isinstance(targets, str) and targets.lower() == ALL_LINEAR
        self._names = frozenset(() if isinstance(targets, str) else targets)
        self._expression = self._compiled(targets) if isinstance(targets, str) else None

    def rank(self, module: str) -> int:
        return int(self._first(self._ranks, module, self._rank))

    def scaling(self, module: str) -> float:
        """What the product of the module's two matrices is multiplied by."""
        rank = self.rank(module)
        alpha = float(self._first(self._alphas, module, self._alpha))
        return alpha / (math.sqrt(rank) if self._stabilized else rank)

    def targets(self, module: str) -> bool:
        """Whether `target_modules` names it: its path or the path's end, or as an expression."""
        if self._everything:
            return True
        if self._expression is not None:
            return self._found(self._expression.fullmatch, module)
        parts = module.split(".")
        return any(".".join(parts[start:]) in self._names for start in range(len(parts)))

    def _suffixes(self, values: Mapping[str, Any]) -> dict[regex.Pattern[str], Any]:
        return {self._compiled(rf"(.*\.)?({key})$"): value for key, value in values.items()}

    def _first(self, values: dict[regex.Pattern[str], Any], module: str, usual: Any) -> Any:
        # `match`, as the engine: a key with brackets of its own may end before the module does.
        found = (value for key, value in values.items() if self._found(key.match, module))
        return next(found, usual)

    def _compiled(self, expression: str) -> regex.Pattern[str]:
        self._left()
        if len(expression) > LONGEST_PATTERN:
            raise BadPattern(f"a pattern is longer than {LONGEST_PATTERN} characters")
        try:
            return regex.compile(expression)
        except (regex.error, ValueError, OverflowError, RecursionError) as error:
            raise BadPattern(f"{expression[:100]!r} is no regular expression: {error}") from error

    def _found(self, match: Callable[..., object], module: str) -> bool:
        try:
            return match(module, timeout=self._left(), concurrent=True) is not None
        except TimeoutError:
            raise BadPattern("to match a pattern takes too long") from None

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise BadPattern("to match all patterns takes too long")
        return left
