"""The live replicas as a router sees them, and the one of them that takes a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.catalog.replicas import HEARTBEAT, Replica, ReplicaDirectory, Routing
from cluster.catalog.routers import Routers
from cluster.errors import Unavailable
from cluster.store.listen import listen
from cluster.store.redis import REPLICA_CHANNEL
from cluster.waiting import happens
from deployments.router.engines.choice import Choice, Kind, Seen, able
from deployments.router.engines.occupancy import Occupancy
from deployments.router.engines.prefixes import Trail

log = logging.getLogger(__name__)

SUSPICION = 2.0
"""Seconds for which a replica that failed is taken only where there is no other."""


class ReplicaPool:
    """The live replicas as this router sees them. `watch` keeps it fresh; picking does no I/O."""

    def __init__(
        self,
        directory: ReplicaDirectory,
        redis: Redis,
        reaches: Callable[[Replica], bool],
        wait: float,
    ) -> None:
        """`reaches` says whether this router has a way to a replica."""
        self._directory = directory
        self._redis = redis
        self._reaches = reaches
        self.wait = wait
        """Seconds that a request may wait for a replica while there is none for it."""
        self._replicas: dict[str, list[Replica]] = {}
        self._occupancies: dict[str, Occupancy] = {}
        self._suspects: dict[str, float] = {}
        self._presence = Routers(redis)
        self._id = secrets.token_hex(8)
        self._routers = 1
        self.on_news: Callable[[], None] = lambda: None
        """Called when there may be more room than before."""
        self._choice = Choice()
        self._arrival = asyncio.Condition()

    @property
    def models(self) -> dict[str, list[Replica]]:
        return self._replicas

    def find(self, model: str, kind: Kind, trail: Trail = ()) -> Replica | None:
        """The replica of `model` that is to take a request of this kind, None while all are full.

        It holds the adapter or loads it. `trail` is the prompt's.
        """
        free = self.free(model, kind)
        return self.choose(free, kind, trail) if free else None

    def choose(self, free: Sequence[Seen], kind: Kind, trail: Trail = ()) -> Replica:
        """The one of `free`, which is not empty, that is to take a request of this kind."""
        return self._choice(free, kind[0], trail)

    def by_prefix(self, model: str) -> bool:
        """Whether the beginning of a prompt says which replica is to take it."""
        replicas = self._replicas.get(model, ())
        return len(replicas) > 1 and any(r.routing is Routing.PREFIX for r in replicas)

    def free(self, model: str, kind: Kind) -> list[Seen]:
        """The replicas with room. A suspect is one only where there is no other, be that full."""
        fitting = list(self._fitting(model, kind))
        if self._suspects:
            fitting = [r for r in fitting if not self._suspect(r)] or fitting
        seen = ((replica, self._occupancy(replica)) for replica in fitting)
        return [Seen(replica, occupancy.load) for replica, occupancy in seen if occupancy.free]

    def places(self, model: str, kind: Kind) -> tuple[int, int]:
        """How many requests of this kind are run at once in all replicas, and how many more could
        be now."""
        all_of_them = [self._occupancy(replica) for replica in self._fitting(model, kind)]
        free = sum(max(0, one.running_places - one.mine) for one in all_of_them)
        return sum(one.running_places for one in all_of_them), free

    def holds(self, model: str, kind: Kind) -> bool:
        """Whether there is a replica for requests of this kind, be it full."""
        return any(True for _ in self._fitting(model, kind))

    async def present(self, model: str) -> None:
        """Wait for any replica of `model`. Raises Unavailable when none comes in time."""
        deadline = time.monotonic() + self.wait
        while not self.models.get(model):
            await self._wait_a_little(model, deadline)

    async def _wait_a_little(self, model: str, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unavailable(f"No replica of {model!r} is ready.", retry_after=5.0)
        with contextlib.suppress(TimeoutError):
            # Short waits, since a suspicion ends without anybody telling.
            async with asyncio.timeout(min(left, SUSPICION / 4)), self._arrival:
                await self._arrival.wait()

    def take(self, replica: Replica) -> None:
        """Count a request as this router's load on `replica`."""
        self._occupancy(replica).take()

    def give_back(self, replica: Replica) -> None:
        """The request is over."""
        self._occupancy(replica).give_back()

    def suspect(self, replica: Replica) -> float:
        """Prefer any other to a replica that failed; until when, on the monotonic clock."""
        until = self._suspects[replica.id] = time.monotonic() + SUSPICION
        return until

    def _fitting(self, model: str, kind: Kind) -> Iterator[Replica]:
        engine_model, ruled_out = kind
        for replica in self._replicas.get(model, ()):
            if replica.id in ruled_out or not able(replica, engine_model):
                continue
            if self._reaches(replica):
                yield replica

    def _suspect(self, replica: Replica) -> bool:
        until = self._suspects.get(replica.id)
        if until is None:
            return False
        if time.monotonic() >= until:
            del self._suspects[replica.id]
            return False
        return True

    def _occupancy(self, replica: Replica) -> Occupancy:
        found = self._occupancies.get(replica.id)
        if found is None:
            now = time.monotonic()
            found = self._occupancies[replica.id] = Occupancy(replica, now)
            found.hear(replica, self._routers, now)
        return found

    async def watch(self) -> None:
        """Read the directory each second and at each change; without Redis, keep the last one."""
        changes = asyncio.Event()
        listener = asyncio.create_task(listen(self._redis, REPLICA_CHANNEL, changes))
        try:
            while True:
                changes.clear()
                try:
                    await self._read()
                except (RedisError, OSError) as error:
                    log.warning("replicas not read, the last ones stay in use: %s", error)
                await happens(changes, HEARTBEAT)
        finally:
            listener.cancel()
            with contextlib.suppress(RedisError, OSError):
                # Without it, its share is the others' a few seconds later.
                await self._presence.leave(self._id)

    async def _read(self) -> None:
        replicas = await self._directory.read()
        self._routers = max(1, await self._presence.beat(self._id))
        self.hear(replicas)
        async with self._arrival:
            self._arrival.notify_all()

    def hear(self, replicas: dict[str, list[Replica]]) -> None:
        """These are all live replicas, as they last described themselves."""
        self._replicas = replicas
        there = {replica.id for group in replicas.values() for replica in group}
        for replica_id in self._suspects.keys() - there:
            del self._suspects[replica_id]
        # One that is leaving still has requests, and may only have been late with its record.
        self._occupancies = {
            replica_id: occupancy
            for replica_id, occupancy in self._occupancies.items()
            if replica_id in there or occupancy.mine
        }
        now = time.monotonic()
        for group in replicas.values():
            for replica in group:
                self._occupancy(replica).hear(replica, self._routers, now)
        self.on_news()
