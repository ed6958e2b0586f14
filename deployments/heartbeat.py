"""A replica's record in the directory, kept fresh while the replica lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from redis.exceptions import RedisError

from cluster.catalog.replicas import HEARTBEAT, Replica, ReplicaDirectory
from cluster.waiting import happens

log = logging.getLogger(__name__)


class Heartbeat:
    """Announces what `describe` returns, every second and at once when it is told of a change.

    Ends, and takes the record away, once `describe` raises: the replica can serve no more.
    """

    def __init__(self, directory: ReplicaDirectory, describe: Callable[[], Replica]) -> None:
        self._directory = directory
        self._describe = describe
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._changed.set()
        self._task = asyncio.create_task(self._run())

    def changed(self) -> None:
        """The record holds something new that somebody may be waiting for."""
        self._changed.set()

    def check(self) -> None:
        """Raises whatever ended the heartbeat."""
        if self._task is not None and self._task.done():
            raise RuntimeError("the replica's heartbeat has ended") from self._task.exception()

    async def stop(self) -> None:
        """Withdraw the record: routers send nothing new."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        replica = self._describe()
        try:
            while True:
                await self._announce(replica)
                await happens(self._changed, HEARTBEAT)
                replica = self._describe()
        finally:
            with contextlib.suppress(RedisError, OSError):
                # A record that can't be withdrawn expires by itself.
                await self._directory.withdraw(replica.model, replica.id)

    async def _announce(self, replica: Replica) -> None:
        changed = self._changed.is_set()
        self._changed.clear()
        try:
            await self._directory.announce(replica, changed=changed)
        except (RedisError, OSError) as error:
            log.warning("heartbeat not written: %s", error)
            await asyncio.sleep(HEARTBEAT / 4)
            # At once, and as news: meanwhile the record may have expired.
            self._changed.set()
