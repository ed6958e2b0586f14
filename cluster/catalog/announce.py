"""Tells routers and replicas that the catalogue changed."""

from __future__ import annotations

import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.store.redis import CATALOG_CHANNEL, CATALOG_VERSION

log = logging.getLogger(__name__)


async def announce(redis: Redis) -> None:
    """Publish a new catalogue version. Without Redis it is found by polling."""
    try:
        version = await redis.incr(CATALOG_VERSION)
        await redis.publish(CATALOG_CHANNEL, str(version))
    except (RedisError, OSError) as error:
        log.warning("catalogue change not announced: %s", error)
