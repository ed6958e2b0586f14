"""Routers know how many they are."""

from __future__ import annotations

from redis.asyncio import Redis

from cluster.catalog.routers import LIFE, Routers
from cluster.store.redis import ROUTERS


async def test_routers_that_live_are_counted(redis: Redis) -> None:
    routers = Routers(redis)
    assert [await routers.beat(name) for name in ("a", "b", "a")] == [1, 2, 2]
    await routers.leave("b")
    assert await routers.beat("a") == 1


async def test_one_that_is_silent_is_gone(redis: Redis) -> None:
    routers = Routers(redis)
    await routers.beat("silent")
    await redis.zincrby(ROUTERS, -(LIFE + 1), "silent")
    assert await routers.beat("a") == 1
