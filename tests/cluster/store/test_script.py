"""Calls of a Lua script: together where they come together, each with its own answer or error."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cluster.store.redis import connect
from cluster.store.script import Script

ADD = """
if ARGV[1] == 'bad' then return redis.error_reply('ERR bad word') end
return redis.call('INCRBY', KEYS[1], ARGV[1])
"""


@pytest.fixture
def add(redis: Redis) -> Script:
    return Script(redis, ADD, timeout=1.0)


async def batches(redis: Redis) -> int:
    """How many times bytes of a client have been read so far."""
    return int((await redis.info("stats"))["total_reads_processed"])


async def test_each_call_has_its_answer(add: Script) -> None:
    answers = await asyncio.gather(*(add(["n"], [1]) for _ in range(50)))
    assert sorted(answers) == list(range(1, 51))


async def test_calls_of_one_moment_share_a_round_trip(add: Script, redis: Redis) -> None:
    await add(["n"], [1])
    before = await batches(redis)
    await asyncio.gather(*(add(["n"], [1]) for _ in range(100)))
    assert await batches(redis) - before <= 4


async def test_an_error_is_that_of_its_call(add: Script) -> None:
    calls = (add(["n"], [word]) for word in (1, "bad", 2))
    one, bad, two = await asyncio.gather(*calls, return_exceptions=True)
    assert (one, two) == (1, 3)
    assert isinstance(bad, ResponseError)


async def test_a_redis_that_forgot_the_script_hears_it_again(add: Script, redis: Redis) -> None:
    await add(["n"], [1])
    await redis.script_flush()
    assert sorted(await asyncio.gather(*(add(["n"], [1]) for _ in range(3)))) == [2, 3, 4]


async def test_a_call_that_nobody_waits_for_any_more_is_not_made(add: Script, redis: Redis) -> None:
    first = asyncio.create_task(add(["n"], [1]))
    await asyncio.sleep(0)  # it is on its way; the next has to wait
    second = asyncio.create_task(add(["n"], [10]))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == 1
    assert await add(["n"], [1]) == 2


async def test_a_redis_that_hangs_is_an_error_for_all_in_time(redis_server) -> None:
    client = connect(redis_server.url, timeout=5.0)
    add = Script(client, ADD, timeout=0.2)
    assert await add(["n"], [1]) == 1
    redis_server.signal(signal.SIGSTOP)
    started = time.monotonic()
    first = asyncio.create_task(add(["n"], [1]))
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(
        first, *(add(["n"], [1]) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(answer, TimeoutError) for answer in answers)
    assert time.monotonic() - started < 1.5
    redis_server.signal(signal.SIGCONT)
    assert await add(["n"], [1]) >= 2
    await client.aclose()


async def test_a_redis_that_is_gone_is_an_error_for_all(tmp_path) -> None:
    client = connect(f"unix://{tmp_path}/none")
    add = Script(client, ADD, timeout=1.0)
    answers = await asyncio.gather(*(add(["n"], [1]) for _ in range(3)), return_exceptions=True)
    assert {type(answer).__name__ for answer in answers} == {"ConnectionError"}
    await client.aclose()
