"""A replica's record: written while it can serve, gone as soon as it can't."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from cluster.catalog.replicas import Replica, ReplicaDirectory
from deployments import heartbeat
from deployments.heartbeat import Heartbeat

REPLICA = Replica(model="budgie", id="r1", node="here", pid=1, actor_id="a", address="/s")


class Engine:
    """What a replica describes itself by; it can die."""

    dead = False

    def describe(self) -> Replica:
        if self.dead:
            raise RuntimeError("the engine has died")
        return REPLICA


async def until(listed: bool, directory: ReplicaDirectory) -> None:
    async with asyncio.timeout(5):
        while (await directory.read() != {}) is not listed:
            await asyncio.sleep(0.01)


async def test_the_record_goes_when_the_engine_dies(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT", 0.02)
    directory, engine = ReplicaDirectory(redis), Engine()
    beat = Heartbeat(directory, engine.describe)
    beat.start()
    await until(True, directory)
    beat.check()
    engine.dead = True
    await until(False, directory)
    assert beat._task is not None
    await asyncio.wait([beat._task])
    with pytest.raises(RuntimeError, match="has ended") as ended:
        beat.check()
    assert "the engine has died" in str(ended.value.__cause__)
    await beat.stop()


async def test_the_record_goes_when_the_replica_stops(redis: Redis) -> None:
    directory = ReplicaDirectory(redis)
    beat = Heartbeat(directory, Engine().describe)
    beat.start()
    await until(True, directory)
    await beat.stop()
    assert await directory.read() == {}
