"""The directory while replicas of several versions write to it."""

from __future__ import annotations

import logging
from dataclasses import replace

import orjson
import pytest
from redis.asyncio import Redis

from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.store.redis import REPLICA_INDEX, replica_key

ONE = Replica("budgie", "one", "here", 1, "a", "/one.sock", fields={"/v1": frozenset({"model"})})


async def write(redis: Redis, name: str, record: bytes) -> None:
    key = replica_key("budgie", name)
    await redis.set(key, record)
    await redis.sadd(REPLICA_INDEX, key)


async def test_what_a_newer_version_tells_more_is_left_out(redis: Redis) -> None:
    newer = orjson.loads(replace(ONE, id="new").encode()) | {"temperature": 40}
    await write(redis, "new", orjson.dumps(newer))
    assert await ReplicaDirectory(redis).read() == {"budgie": [replace(ONE, id="new")]}


@pytest.mark.parametrize(
    "record",
    [b"{", b"[]", b"{}", b'{"adapters": [], "fields": []}', b'{"adapters":[],"fields":{}}'],
)
async def test_a_record_that_is_not_understood_is_skipped_and_told_of_once(
    redis: Redis, caplog: pytest.LogCaptureFixture, record: bytes
) -> None:
    directory = ReplicaDirectory(redis)
    await directory.announce(ONE, changed=False)
    await write(redis, "odd", record)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await directory.read() == {"budgie": [ONE]}
    assert len(caplog.messages) == 1
    assert "odd" in caplog.text
