"""Hearing of changes over Redis' pub/sub, for ever."""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

SILENCE = 5.0
"""Seconds that one read waits for a message."""


async def listen(redis: Redis, channel: str, changes: asyncio.Event) -> None:
    """Set `changes` at each message on `channel`, reconnecting for ever."""
    while True:
        try:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(channel)
                changes.set()  # whatever was published while nobody listened
                while True:
                    message = await pubsub.get_message(
                        ignore_subscribe_messages=True, timeout=SILENCE
                    )
                    if message is not None:
                        changes.set()
        except (RedisError, OSError) as error:
            log.warning("not listening on %s: %s", channel, error)
            await asyncio.sleep(1.0)
