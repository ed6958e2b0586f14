"""When to try again what has failed for a reason that may pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

FIRST = 1.0
LONGEST = 15.0
"""Seconds between two tries, at first and in the end: each pause is twice the one before."""


@dataclass
class _Failing:
    since: float
    pause: float
    due: float


class Backoff:
    """A pause for each key that fails, so that it costs little and delays no other.

    Kept in memory alone: after a restart everything is tried at once.
    """

    def __init__(
        self, *, first: float = FIRST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    @property
    def keys(self) -> Collection[str]:
        """All that failed when they were tried last."""
        return self._failing.keys()

    @property
    def waiting(self) -> set[str]:
        """Those of `keys` that are not to be tried yet."""
        moment = self._clock()
        return {key for key, failing in self._failing.items() if moment < failing.due}

    def failed(self, key: str) -> float:
        """Pause. Returns the seconds since its first failure of those in a row."""
        moment = self._clock()
        failing = self._failing.setdefault(key, _Failing(moment, self._first, moment))
        failing.due = moment + failing.pause
        failing.pause = min(2 * failing.pause, LONGEST)
        return moment - failing.since

    def forget(self, key: str) -> None:
        """It has succeeded, or is not to be tried again."""
        self._failing.pop(key, None)
