"""How full one engine is, as one of several routers sees it.

A router counts its own requests exactly. Of the others' it hears once a second, in a sum with its
own, and some of its own have ended since.
"""

from __future__ import annotations

from cluster.catalog.replicas import HEARTBEAT, Replica, capacity

GROWTH = 4
"""One in so many more requests are tried each second, once the engine lets few wait."""
RECENT = 5
"""Heartbeats: what an engine ran at one of them it can run."""
PATIENCE = 3
"""Heartbeats in a row at which requests waited in the engine: then they are too many for it."""


class Occupancy:
    """Of one replica. `mine` are this router's requests in it."""

    def __init__(self, replica: Replica, now: float) -> None:
        self.mine = 0
        self.others = 0
        self.room = replica.capacity
        """Requests that the engine is given: fewer than its capacity where its memory bounds it."""
        self._share = replica.capacity
        self._look_ahead = replica.look_ahead
        self._period = now
        self._peak = self._last_peak = 0
        """The most of `mine` in this period and in the one before."""
        self._crowded = 0
        self._most_running = [0] * RECENT

    @property
    def load(self) -> int:
        return self.mine + self.others

    @property
    def places(self) -> int:
        """How many requests this router may have in it. It has its share, however many the others
        have there; without that, one that came late would wait for ever."""
        return max(self._share, self.room - self.others)

    @property
    def running_places(self) -> int:
        """Of those, where requests are run at once and do not wait in the engine."""
        return max(1, self.places - self._look_ahead)

    @property
    def free(self) -> bool:
        """Whether it takes one more."""
        return self.mine < self.places

    def take(self) -> None:
        self.mine += 1
        self._peak = max(self._peak, self.mine)

    def give_back(self) -> None:
        self.mine -= 1

    def hear(self, replica: Replica, routers: int, now: float) -> None:
        """What the replica says of itself, of which each of so many routers has a share."""
        if now - self._period >= HEARTBEAT:
            self._period = now
            self._last_peak, self._peak = self._peak, self.mine
            self._fit(replica)
        self.room = min(self.room, replica.capacity)
        self._share = max(1, self.room // routers)
        self._look_ahead = -(-replica.look_ahead // routers)
        total = replica.running + replica.waiting
        self.others = max(0, total - max(self._peak, self._last_peak))

    def _fit(self, replica: Replica) -> None:
        """An engine whose requests need more memory than it has lets them wait inside."""
        self._most_running = [*self._most_running[1:], replica.running]
        most = max(self._most_running)
        fits = capacity(most)
        if replica.waiting <= fits - most:
            self._crowded = 0
            grown = max(self.room, replica.running) + max(2, self.room // GROWTH)
            self.room = min(replica.capacity, grown)
            return
        # Once may be a burst that it is just about to begin with.
        self._crowded += 1
        if self._crowded >= PATIENCE:
            self.room = min(replica.capacity, fits)
