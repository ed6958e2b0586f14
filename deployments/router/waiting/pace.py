"""How fast those who wait get their turn, and so how long one would wait."""

from __future__ import annotations

from collections import deque

WINDOW = 128
"""Turns by which the pace is measured, and at least so many for a guess."""
FEW = 8


class Pace:
    """Of the turns since somebody began to wait: before that, slots were free unasked."""

    def __init__(self) -> None:
        self._turns: deque[float] = deque(maxlen=WINDOW)
        self._since: float | None = None

    def turn(self, now: float) -> None:
        """Somebody has got their turn."""
        if self._since is None:
            self._since = now
        if len(self._turns) == WINDOW:
            self._since = self._turns[0]
        self._turns.append(now)

    def begin(self, now: float) -> None:
        """Somebody waits, after a time in which nobody did."""
        self._turns.clear()
        self._since = now

    def seconds(self, ahead: float, now: float) -> float | None:
        """How long it takes until so many have had their turn, None where one can't tell yet."""
        if len(self._turns) < FEW or self._since is None:
            return None
        return ahead * max(now - self._since, 1e-3) / len(self._turns)
