"""What a router remembers of the replicas."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from cluster.catalog.replicas import Replica, ReplicaDirectory
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.engines.socket_transport import SocketTransport


async def test_a_suspect_that_is_gone_is_forgotten(redis: Redis) -> None:
    directory = ReplicaDirectory(redis)
    pool = ReplicaPool(directory, redis, SocketTransport("here").reaches, wait=10.0)
    gone, there = (Replica("budgie", name, "here", 1, "a", "/s") for name in ("gone", "there"))
    for replica in (gone, there):
        await directory.announce(replica, changed=True)
    watching = asyncio.create_task(pool.watch())
    await pool.present("budgie")
    pool.suspect(gone)
    pool.suspect(there)
    await directory.withdraw(gone.model, gone.id)
    async with asyncio.timeout(10):
        while gone.id in pool._suspects:
            await asyncio.sleep(0.01)
    assert pool.models == {"budgie": [there]}
    assert there.id in pool._suspects
    watching.cancel()


async def test_routers_share_an_engine_by_their_number(redis: Redis) -> None:
    directory = ReplicaDirectory(redis)
    full = Replica("budgie", "r", "here", 1, "a", "/s", capacity=8, running=8)
    await directory.announce(full, changed=True)
    pools = [ReplicaPool(directory, redis, lambda _: True, wait=10.0) for _ in range(2)]
    watching = [asyncio.create_task(pool.watch()) for pool in pools]
    kind = ("budgie", frozenset[str]())

    async def places(pool: ReplicaPool, count: int) -> None:
        """It comes to give so many places in an engine that others fill."""
        async with asyncio.timeout(10):
            while True:
                free = 0
                while (replica := pool.find("budgie", kind)) is not None:
                    pool.take(replica)
                    free += 1
                for _ in range(free):
                    pool.give_back(full)
                if free == count:
                    return
                pools[0]._occupancies.clear()  # with what it gave while we looked
                await directory.announce(full, changed=True)
                await asyncio.sleep(0.01)

    await places(pools[0], 4)
    watching[1].cancel()
    await asyncio.wait([watching[1]])
    await places(pools[0], 8)
    watching[0].cancel()
