"""A dependency that may be away: who still tries it, and what is logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Outage:
    """A small circuit breaker. After a failure one caller per `pause` seconds tries again."""

    def __init__(
        self, name: str, *, pause: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.since: float | None = None
        self._pause = pause
        self._clock = clock
        self._next_try = 0.0

    def may_try(self) -> bool:
        """Whether to call the dependency now. In an outage, True to one caller a pause."""
        if self.since is None:
            return True
        now = self._clock()
        if now < self._next_try:
            return False
        self._next_try = now + self._pause
        return True

    def failed(self, error: BaseException) -> None:
        now = self._clock()
        self._next_try = now + self._pause
        if self.since is None:
            self.since = now
            log.warning("%s is away: %s", self.name, str(error) or type(error).__name__)

    def succeeded(self) -> None:
        if self.since is not None:
            log.warning("%s is back after %.1f s", self.name, self._clock() - self.since)
            self.since = None
