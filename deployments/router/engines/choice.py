"""Which of several replicas is to take a request.

One that holds the adapter and has least to do, or the one that lately saw such a prompt. Where a
holder's requests would wait for longer than it takes to load the adapter elsewhere, another replica
takes the request and with it the adapter. An adapter that nobody holds goes to a replica that has a
place for it; the requests that follow it go there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cluster.catalog.placement import nearest
from cluster.catalog.replicas import Replica
from deployments.router.engines.prefixes import Prefixes, Trail

BATCHED = 8
"""Requests that a replica runs together in about the time of one."""
UNEVEN = 2.0
"""So many times the mean is more than a replica's share."""
ON_THE_WAY = 2.0
"""Seconds for which an adapter is taken to be where it was sent, until that replica says so."""
REMEMBERED = 1000
"""Adapters on the way before those that have arrived are forgotten."""

Kind = tuple[str, frozenset[str]]
"""What a replica must hold, and the replicas that are ruled out: requests of one kind fit the same
replicas."""


class Seen(NamedTuple):
    """A replica that may take the request, as this router sees it now."""

    replica: Replica
    load: int
    """Requests that run and wait in it."""


def able(replica: Replica, engine_model: str) -> bool:
    """Whether a replica can answer for a model: its own, or an adapter that it holds or loads."""
    if engine_model == replica.model or engine_model in replica.adapters:
        return True
    return bool(replica.places)


class Choice:
    """One for each router: what it sent where is known to itself only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[str, tuple[str, float]] = {}
        """By adapter the replica that it was sent to, and until when that counts."""
        self.prefixes = Prefixes()

    def __call__(self, seen: Sequence[Seen], engine_model: str, trail: Trail = ()) -> Replica:
        """One of `seen`, which are all able and at least one. `trail` is the prompt's, if any."""
        chosen = seen[0] if len(seen) == 1 else self._among(seen, engine_model, trail)
        replica = chosen.replica
        if engine_model != replica.model and engine_model not in replica.adapters:
            self._send(engine_model, replica.id)
        if trail:
            self.prefixes.add(trail, replica.id)
        return replica

    def _among(self, seen: Sequence[Seen], engine_model: str, trail: Trail) -> Seen:
        seen = [one for one in seen if engine_model not in one.replica.failures] or seen
        sent = self._sent_to(engine_model)
        holders: list[Seen] = []
        others: list[Seen] = []
        for one in seen:
            replica = one.replica
            there = engine_model == replica.model or engine_model in replica.adapters
            (holders if there or replica.id == sent else others).append(one)
        if not holders:
            return self._newcomer(others, engine_model)
        best = min(holders, key=_load)
        if others and (wait := _wait(best, seen)):
            other = self._newcomer(others, engine_model)
            if other.load < best.load and wait > other.replica.loading:
                return other
        if trail and len(holders) > 1:
            return self._familiar(holders, best, trail)
        return best

    def _newcomer(self, others: Sequence[Seen], engine_model: str) -> Seen:
        """Who loads the adapter: of those with no more than their share to do, and with a free
        place where there is one, the same for all routers."""
        share = _share(others)
        fair = [one for one in others if one.load <= share]
        roomy = [one for one in fair if len(one.replica.adapters) < (one.replica.places or 0)]
        by_id = {one.replica.id: one for one in roomy or fair}
        return by_id[nearest(engine_model, (one.replica for one in by_id.values()))[0]]

    def _familiar(self, holders: Sequence[Seen], best: Seen, trail: Trail) -> Seen:
        """Who saw the most of the prompt, of those that have not much more to do than the best."""
        close = {one.replica.id: one for one in holders if one.load <= best.load + BATCHED}
        known = self.prefixes.find(trail, close.keys())
        return best if known is None else close[known]

    def _sent_to(self, engine_model: str) -> str | None:
        if engine_model not in self._sent:
            return None
        replica_id, until = self._sent[engine_model]
        if self._clock() < until:
            return replica_id
        del self._sent[engine_model]
        return None

    def _send(self, engine_model: str, replica_id: str) -> None:
        now = self._clock()
        if len(self._sent) >= REMEMBERED:
            self._sent = {name: at for name, at in self._sent.items() if at[1] > now}
        self._sent[engine_model] = (replica_id, now + ON_THE_WAY)


def _load(one: Seen) -> int:
    return one.load


def _share(seen: Sequence[Seen]) -> float:
    """How much may be one replica's to do before it is too much for it alone."""
    return max(BATCHED, UNEVEN * sum(one.load for one in seen) / len(seen))


def _wait(holder: Seen, seen: Sequence[Seen]) -> float:
    """Seconds that a request would wait at `holder` for those before it: the ones that it has not
    begun, and the ones beyond its share."""
    replica = holder.replica
    before = max(float(replica.waiting), holder.load - _share(seen))
    if before <= 0:
        return 0.0
    at_once = max(1, min(holder.load, replica.running))
    return before * replica.duration / at_once
