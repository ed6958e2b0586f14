"""The supervisor's side of usage: from the Redis stream to SQL, each request once.

A message leaves the stream after its row is committed. Whatever dies in between, the message is
read again and its row, whose key is the request id, is already there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from cluster.errors import Unavailable
from cluster.store import schema
from cluster.store.redis import USAGE_DEAD, USAGE_GROUP, USAGE_STREAM
from cluster.store.sql import Database, insert_missing
from cluster.usage.event import UsageEvent

log = logging.getLogger(__name__)

BATCH = 500
BLOCK_MS = 500
"""Under the client's socket timeout."""
LINGER = 0.5
"""Seconds from one batch to the next, unless it is full: a transaction costs more than a row."""
RECLAIM_EVERY = 30.0
ABANDONED_MS = 60_000
"""After so long without an acknowledgement another recorder takes a message over."""
DEAD_MOST = 10_000
BACKOFF_MOST = 5.0

Message = tuple[bytes, dict[bytes, bytes]]


class Recorder:
    """Reads the stream as one consumer of the group. Several may run; one is enough."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._database = database
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.recorded = 0

    async def run(self) -> None:
        """Record for ever, until cancelled. What is away is waited for."""
        backoff = 0.1
        clock = asyncio.get_running_loop().time
        idle_ms, next_reclaim = 0, 0.0  # at the start everything that was left, later the old
        while True:
            try:
                if clock() >= next_reclaim:
                    await self._join()
                    await self._reclaim(idle_ms)
                    idle_ms, next_reclaim = ABANDONED_MS, clock() + RECLAIM_EVERY
                messages = await self._read()
                await self.record(messages)
                if backoff > 0.1:
                    log.warning("usage is recorded again")
                backoff = 0.1
                if 0 < len(messages) < BATCH:
                    await asyncio.sleep(LINGER)
            except (RedisError, OSError, Unavailable, SQLAlchemyError) as error:
                if backoff == 0.1:
                    log.warning("usage is not recorded, it waits: %s", error)
                # Also read again what this process has read and not recorded, and join again if
                # Redis came back empty.
                idle_ms, next_reclaim = 0, 0.0
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, BACKOFF_MOST)

    async def record(self, messages: Sequence[Message]) -> None:
        """Write the messages' rows, then take the messages out of the stream."""
        if not messages:
            return
        rows: dict[bytes, dict[str, Any]] = {}
        poison: dict[bytes, str] = {}
        for name, fields in messages:
            try:
                rows[name] = UsageEvent.from_fields(fields).row()
            except ValueError as error:
                poison[name] = str(error)
        if rows:
            poison |= await self._insert(rows)
        async with self._redis.pipeline(transaction=True) as pipeline:
            for name, fields in messages:
                if name in poison:
                    letter: dict[Any, Any] = {**fields, b"id": name, b"reason": poison[name]}
                    pipeline.xadd(USAGE_DEAD, letter, maxlen=DEAD_MOST, approximate=True)
                    log.error("usage message %s is no event: %s", name.decode(), poison[name])
            names = [name for name, _ in messages]
            pipeline.xack(USAGE_STREAM, USAGE_GROUP, *names)
            pipeline.xdel(USAGE_STREAM, *names)
            await pipeline.execute()
        self.recorded += len(messages) - len(poison)

    async def _insert(self, rows: dict[bytes, dict[str, Any]]) -> dict[bytes, str]:
        """Insert all rows. Returns those that the database will never take, with the reason."""
        try:
            async with self._database.begin() as session:
                await insert_missing(session, schema.UsageEvent, list(rows.values()))
            return {}
        except (DataError, IntegrityError) as error:
            if len(rows) == 1:
                return {name: str(error.orig) for name in rows}
        refused: dict[bytes, str] = {}
        for name, row in rows.items():
            refused |= await self._insert({name: row})
        return refused

    async def _join(self) -> None:
        try:
            await self._redis.xgroup_create(USAGE_STREAM, USAGE_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read(self) -> list[Message]:
        reply: Any = await self._redis.xreadgroup(
            USAGE_GROUP, self._consumer, {USAGE_STREAM: ">"}, count=BATCH, block=BLOCK_MS
        )
        return [message for _, messages in reply for message in messages]

    async def _reclaim(self, idle_ms: int) -> None:
        """Record what consumers have read and not acknowledged, and forget dead consumers."""
        start: bytes | str = "0-0"
        while True:
            start, claimed, *_ = await self._redis.xautoclaim(
                USAGE_STREAM, USAGE_GROUP, self._consumer, idle_ms, start, count=BATCH
            )
            # Without fields: deleted by hand, there is nothing left to record.
            await self.record([(name, fields) for name, fields in claimed if fields])
            if start in (b"0-0", "0-0"):
                break
        for consumer in await self._redis.xinfo_consumers(USAGE_STREAM, USAGE_GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > 10 * ABANDONED_MS:
                await self._redis.xgroup_delconsumer(USAGE_STREAM, USAGE_GROUP, consumer["name"])
