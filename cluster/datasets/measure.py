"""Statistics of a stream of numbers in constant memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

EXACT = 1024
STEP = math.log(1.01)


@dataclass(frozen=True)
class Lengths:
    """Of rows, in characters or tokens. `p95` is exact to 1 %."""

    total: int
    mean: float
    p95: int
    max: int


class Measure:
    """Counts per value up to EXACT, then per bucket 1 % wide: some thousand numbers at most."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._rows = self._total = self._max = 0

    def add(self, length: int) -> None:
        self._rows += 1
        self._total += length
        self._max = max(self._max, length)
        bucket = length if length <= EXACT else EXACT + math.ceil(math.log(length / EXACT) / STEP)
        self._counts[bucket] += 1

    def lengths(self) -> Lengths:
        if not self._rows:
            return Lengths(0, 0.0, 0, 0)
        left = math.ceil(self._rows * 0.95)
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                break
        upper = bucket if bucket <= EXACT else round(EXACT * math.exp((bucket - EXACT) * STEP))
        return Lengths(self._total, self._total / self._rows, min(upper, self._max), self._max)
