"""The router's side of usage: events leave the request at once and reach Redis in batches.

A process that is killed loses the events of the last `window`; everything else survives an outage
of Redis on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.store.outage import Outage
from cluster.store.redis import USAGE_STREAM
from cluster.usage.event import UsageEvent
from cluster.usage.spool import Spool

BATCH = 500
DRAIN_EVERY = 1.0


class Meter:
    """Takes one event a request. Start `run` beside it, `close` it at the end."""

    def __init__(
        self, redis: Redis, home: Path, *, window: float = 0.05, spool_bytes: int = 64 * 2**20
    ) -> None:
        self._redis = redis
        self._spool = Spool(home / "spool", limit=spool_bytes)
        self._window = window
        self._outage = Outage("Redis (usage)")
        self._queue: deque[UsageEvent] = deque()
        self._flushing = asyncio.Lock()
        self.record = self._queue.append
        """Called at the end of every request: it never waits and never fails."""

    async def run(self) -> None:
        """Flush for ever, until cancelled."""
        clock = asyncio.get_running_loop().time
        next_drain = 0.0
        while True:
            await asyncio.sleep(self._window)
            await self.flush()
            if clock() >= next_drain:
                await self.drain()
                next_drain = clock() + DRAIN_EVERY

    async def flush(self) -> None:
        """Everything recorded so far is in Redis afterwards, or on disk."""
        async with self._flushing:
            while self._queue:
                events = list(islice(self._queue, BATCH))
                lines = [event.to_json() for event in events]
                if not (self._outage.may_try() and await self._send(lines)):
                    await asyncio.to_thread(self._spool.append, lines)
                for _ in events:  # only now: cancelled above, they are sent again, not lost
                    self._queue.popleft()

    async def drain(self) -> None:
        """Send what is on disk, of this process and of dead ones, if Redis is there."""
        async with self._flushing:
            if not (self._spool.any() and self._outage.may_try() and await self._send([])):
                return
            for batch in self._spool.drain():
                if not await self._send(batch):
                    return

    async def close(self) -> None:
        """Flush. Cancel `run` before."""
        await self.flush()
        self._spool.close()

    async def _send(self, lines: Sequence[str]) -> bool:
        """Whether Redis has taken them. One that says no may have taken some: the recorder keeps
        one of each."""
        try:
            async with asyncio.timeout(2.0), self._redis.pipeline(transaction=False) as pipeline:
                pipeline.ping()
                for line in lines:
                    pipeline.xadd(USAGE_STREAM, {"event": line})
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._outage.failed(error)
            return False
        self._outage.succeeded()
        return True
