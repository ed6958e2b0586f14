"""The adapters in one engine: how many there may be, who uses them, which of them goes next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

HALF_LIFE = 600.0
"""Seconds after which a use counts half."""


@dataclass(slots=True)
class _Resident:
    uri: str
    heat: float
    """Grows with each use and never falls: of two, the one with more is the more used by now."""
    used_at: float | None = None
    uses: int = 0
    """Requests that are using it at this moment."""

    def warm(self, now: float) -> None:
        # log2 of the sum of 2 ** (t / HALF_LIFE) over its uses, which for itself would overflow.
        more = now / HALF_LIFE
        low, high = sorted((self.heat, more))
        self.heat = high + math.log2(1 + 2 ** (low - high))


class Residents:
    """Never more than `places`. Those in use stay; of the others the least used goes first."""

    def __init__(self, places: int, clock: Callable[[], float] = time.time) -> None:
        self.places = places
        self.kept: Collection[str] = frozenset()
        """Those that make room for no other."""
        self.yielding: str | None = None
        """The one that takes no new request, so that another may have its place."""
        self.going: set[str] = set()
        """Those that are being taken out: they take no request, and have their places still."""
        self._clock = clock
        self._held: dict[str, _Resident] = {}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._held)

    @property
    def serving(self) -> frozenset[str]:
        """Those that take requests."""
        return frozenset(self._held) - self.going - {self.yielding}

    @property
    def full(self) -> bool:
        return len(self._held) >= self.places

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def uri(self, name: str) -> str:
        return self._held[name].uri

    def busy(self, name: str) -> bool:
        return self._held[name].uses > 0

    def used(self, since: float) -> dict[str, float]:
        """When each was last used, of those that were since."""
        times = {name: resident.used_at for name, resident in self._held.items()}
        return {name: at for name, at in times.items() if at is not None and at >= since}

    def enter(self, name: str) -> bool:
        """Use an adapter until `leave`. False where it is not there or takes no request."""
        if not self.hold(name):
            return False
        self.touch(name)
        return True

    def hold(self, name: str) -> bool:
        """`enter`, without a request that uses it."""
        resident = self._held.get(name)
        if resident is None or name == self.yielding or name in self.going:
            return False
        resident.uses += 1
        return True

    def touch(self, name: str) -> None:
        """A request uses it."""
        resident = self._held[name]
        resident.used_at = now = self._clock()
        resident.warm(now)

    def leave(self, name: str) -> None:
        resident = self._held[name]
        assert resident.uses > 0, "whoever leaves has entered"
        resident.uses -= 1

    def add(self, name: str, uri: str) -> None:
        """It is in the engine now."""
        assert not self.full, "the room for it was made before"
        self._held[name] = _Resident(uri, self._clock() / HALF_LIFE)

    def remove(self, name: str) -> None:
        assert not self.busy(name), "those in use stay"
        del self._held[name]
        self.going.discard(name)
        if self.yielding == name:
            self.yielding = None

    def coldest(self) -> str | None:
        """The one that may go at once."""
        return self._coldest(busy=False)

    def ask(self) -> None:
        """Where all are in use: have one of them take no new request."""
        if self.yielding is None:
            self.yielding = self._coldest(busy=True)

    def _coldest(self, *, busy: bool) -> str | None:
        heats = (
            (resident.heat, name)
            for name, resident in self._held.items()
            if (resident.uses > 0) is busy and name not in self.kept and name not in self.going
        )
        return min(heats, default=(0.0, None))[1]
