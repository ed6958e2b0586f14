"""What a router remembers of the replicas."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from cluster.catalog.replicas import Replica, ReplicaDirectory
from deployments.router.replicas import ReplicaPool
from deployments.router.socket_transport import SocketTransport


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
