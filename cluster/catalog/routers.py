"""How many routers there are, so that each knows its share of an engine."""

from __future__ import annotations

from redis.asyncio import Redis

from cluster.store.redis import ROUTERS

LIFE = 5
"""Seconds after its last sign of life at which a router is taken for gone."""

# By the clock of Redis: those of the routers' machines differ.
BEAT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
return redis.call('ZCARD', KEYS[1])
"""


class Routers:
    """Raises redis' errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._beat = redis.register_script(BEAT)

    async def beat(self, router: str) -> int:
        """A sign of life of `router`; returns how many there are, itself among them."""
        return int(await self._beat(keys=[ROUTERS], args=[router, LIFE]))

    async def leave(self, router: str) -> None:
        """Its share goes to the others."""
        await self._redis.zrem(ROUTERS, router)
