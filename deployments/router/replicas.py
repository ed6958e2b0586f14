"""The live replicas as a router sees them, and the one of them that takes a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.catalog.replicas import HEARTBEAT, Replica, ReplicaDirectory, Routing
from cluster.errors import Unavailable
from cluster.store.listen import listen
from cluster.store.redis import REPLICA_CHANNEL
from cluster.waiting import happens
from deployments.router.choice import Choice, Seen, able
from deployments.router.prefixes import Trail

log = logging.getLogger(__name__)

SUSPICION = 2.0
"""Seconds for which a replica that failed is taken only where there is no other."""


class ReplicaPool:
    """The live replicas as this router sees them. `watch` keeps it fresh; picking does no I/O."""

    def __init__(self, directory: ReplicaDirectory, redis: Redis, node: str, wait: float) -> None:
        self._directory = directory
        self._redis = redis
        self._node = node
        self.wait = wait
        """Seconds that a request may wait for a replica while there is none for it."""
        self._replicas: dict[str, list[Replica]] = {}
        self._mine: Counter[str] = Counter()
        self._suspects: dict[str, float] = {}
        self._choice = Choice()
        self._arrival = asyncio.Condition()

    @property
    def models(self) -> dict[str, list[Replica]]:
        return self._replicas

    def address(self, replica: Replica) -> str | None:
        """How this router reaches a replica, None where it can't."""
        return replica.address if replica.node == self._node else replica.remote

    def by_prefix(self, model: str) -> bool:
        """Whether the beginning of a prompt says which replica is to take it."""
        replicas = self._replicas.get(model, ())
        return len(replicas) > 1 and any(r.routing is Routing.PREFIX for r in replicas)

    async def pick(
        self,
        model: str,
        engine_model: str,
        passed: Mapping[str, float],
        deadline: float,
        trail: Trail = (),
    ) -> Replica:
        """A replica of `model` that holds `engine_model` or loads it. `trail` is the prompt's.

        `passed` has those that failed this very request, each with the time until which it is not
        tried again. Waits for one until `deadline`, both on the monotonic clock; raises
        Unavailable when all are full or none comes.
        """
        while True:
            now = time.monotonic()
            fitting = [r for r in self.models.get(model, []) if self._fits(r, engine_model)]
            fresh = [r for r in fitting if passed.get(r.id, now) <= now]
            free = [r for r in fresh if self._load(r) < r.capacity]
            if free:
                seen = [Seen(r, self._load(r), self._suspect(r)) for r in free]
                return self._choice(seen, engine_model, trail)
            if fresh:
                raise Unavailable(f"All replicas of {model!r} are full.", retry_after=1.0)
            await self._wait_a_little(model, deadline)

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

    def take(self, replica: Replica) -> Callable[[], None]:
        """Count a request as this router's load on `replica`, until the result is called."""
        self._mine[replica.id] += 1

        def give_back() -> None:
            self._mine[replica.id] -= 1
            if not self._mine[replica.id]:
                del self._mine[replica.id]

        return give_back

    def suspect(self, replica: Replica) -> float:
        """Prefer any other to a replica that failed; until when, on the monotonic clock."""
        until = self._suspects[replica.id] = time.monotonic() + SUSPICION
        return until

    def _fits(self, replica: Replica, engine_model: str) -> bool:
        return able(replica, engine_model) and self.address(replica) is not None

    def _suspect(self, replica: Replica) -> bool:
        until = self._suspects.get(replica.id)
        if until is None:
            return False
        if time.monotonic() >= until:
            del self._suspects[replica.id]
            return False
        return True

    def _load(self, replica: Replica) -> int:
        # A heartbeat is up to a second old and counts this router's own requests too.
        return max(self._mine[replica.id], replica.running + replica.waiting)

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

    async def _read(self) -> None:
        self._replicas = await self._directory.read()
        there = {replica.id for replicas in self._replicas.values() for replica in replicas}
        for replica_id in self._suspects.keys() - there:
            del self._suspects[replica_id]
        async with self._arrival:
            self._arrival.notify_all()
