"""The Redis client: it fails in time, closes what it opened and lets itself be cancelled."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import pytest
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import TimeoutError as RedisTimeout

from cluster.store.redis import connect


async def test_a_server_that_is_not_there(tmp_path) -> None:
    client = connect(f"unix://{tmp_path}/none")
    with pytest.raises(RedisGone):
        await client.ping()
    await client.aclose()


async def test_a_server_that_hangs(redis_server) -> None:
    client = connect(redis_server.url, timeout=0.2)
    await client.ping()
    redis_server.signal(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(RedisTimeout):
        await client.ping()
    assert time.monotonic() - started < 1.5
    redis_server.signal(signal.SIGCONT)
    assert await client.ping()
    await client.aclose()


async def test_closing_closes_the_connections(redis_url) -> None:
    client, watcher = connect(redis_url), connect(redis_url)
    await asyncio.gather(*(client.ping() for _ in range(5)))
    before = len(await watcher.client_list())
    await client.aclose()
    deadline = time.monotonic() + 5  # Redis hears of it a moment later
    while (left := len(await watcher.client_list())) >= before and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert left < before
    await watcher.aclose()


async def test_no_cancellation_is_lost(redis) -> None:
    """With redis-py's own connections about one in ten is, on Python 3.11."""

    async def loop() -> None:
        while True:
            await redis.ping()

    for _ in range(150):
        task = asyncio.create_task(loop())
        await asyncio.sleep(random.uniform(0, 0.002))
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=1.0)
        assert done, "the task goes on"
        assert task.cancelled()
