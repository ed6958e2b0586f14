"""Before anything starts: the stores answer, and the schema is up to date."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from cluster.errors import ConfigurationError, Unavailable
from cluster.settings import Settings
from cluster.store import redis, sql


def prepare_stores(settings: Settings) -> None:
    """Raises ConfigurationError naming the store that a configured URL does not reach."""
    asyncio.run(_prepare(settings))


async def _prepare(settings: Settings) -> None:
    if settings.redis_url is not None:
        client = redis.connect(settings.redis_url, timeout=5)
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            raise ConfigurationError(f"LORIKEET_REDIS_URL: {error}") from error
        finally:
            await client.aclose()
    try:
        await sql.upgrade(settings)
    except (OSError, Unavailable) as error:
        raise ConfigurationError(f"LORIKEET_DATABASE_URL: {error}") from error
