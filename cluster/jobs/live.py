"""Live events: what SQL has just recorded, for whoever is watching. Best effort."""

from __future__ import annotations

import json
import logging
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.store.redis import job_channel
from cluster.store.schema import JobEvent

log = logging.getLogger(__name__)
PAUSE = 5.0
"""Seconds without a try after Redis failed: a watcher is never worth a slow training."""


class LiveEvents:
    """Publishes on the job's channel. A Redis that is away costs one timeout a while."""

    def __init__(self, redis: Redis | None) -> None:
        self._redis = redis
        self._silent_until = 0.0

    async def publish(self, *events: JobEvent) -> None:
        if self._redis is None or time.monotonic() < self._silent_until:
            return
        try:
            for event in events:
                await self._redis.publish(job_channel(event.job_id), _message(event))
        except (RedisError, OSError) as error:
            self._silent_until = time.monotonic() + PAUSE
            log.warning("live events of a job not published: %s", error)


def _message(event: JobEvent) -> str:
    return json.dumps(
        {
            "id": event.id,
            "job_id": event.job_id,
            "at": event.at.timestamp(),
            "level": event.level,
            "type": event.type,
            "message": event.message,
            "data": event.data,
        }
    )
