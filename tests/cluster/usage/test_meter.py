"""The meter: nothing recorded is lost while Redis is away or the process ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from dataclasses import replace

from cluster.store.redis import USAGE_STREAM, connect
from cluster.usage.event import UsageEvent
from cluster.usage.meter import Meter
from cluster.usage.spool import Spool
from tests.cluster.usage.test_event import EVENT


def event(number: int) -> UsageEvent:
    return replace(EVENT, request_id=f"req-{number}")


async def streamed(redis) -> list[str]:
    messages = await redis.xrange(USAGE_STREAM)
    return [UsageEvent.from_fields(fields).request_id for _, fields in messages]


async def until(check, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.02)


async def test_events_reach_the_stream_in_batches(redis, tmp_path) -> None:
    meter = Meter(redis, tmp_path)
    running = asyncio.create_task(meter.run())
    for number in range(1200):
        meter.record(event(number))

    async def arrived() -> bool:
        return await redis.xlen(USAGE_STREAM) == 1200

    await until(arrived)
    running.cancel()
    meter.record(event(1200))
    await meter.close()
    # A flush that was cancelled may have sent its events already; the recorder keeps one of each.
    arrived_once = list(dict.fromkeys(await streamed(redis)))
    assert arrived_once == [f"req-{number}" for number in range(1201)]
    assert not (tmp_path / "spool").exists()


async def test_an_outage_is_spooled_and_drained(redis_server, tmp_path, caplog) -> None:
    redis = connect(redis_server.url, timeout=0.3)
    meter = Meter(redis, tmp_path, window=0.01)
    running = asyncio.create_task(meter.run())
    redis_server.signal(signal.SIGSTOP)
    with caplog.at_level(logging.WARNING):
        for number in range(600):
            started = time.monotonic()
            meter.record(event(number))
            assert time.monotonic() - started < 0.1
            if number % 100 == 0:
                await asyncio.sleep(0.05)

        async def spooled() -> bool:
            return not meter._queue

        await until(spooled)
        redis_server.stop()
        redis_server.start()

        async def arrived() -> bool:
            return len(set(await streamed(redis))) == 600

        await until(arrived)
        await until(lambda: asyncio.to_thread(lambda: not list((tmp_path / "spool").iterdir())))
    away, back = [record.message for record in caplog.records]
    assert away.startswith("Redis (usage) is away")
    assert back.startswith("Redis (usage) is back")
    running.cancel()
    await meter.close()
    await redis.aclose()


async def test_what_a_dead_process_left_is_taken_along(redis, tmp_path) -> None:
    dead = Spool(tmp_path / "spool")
    dead.append([event(1).to_json(), event(2).to_json()])
    meter = Meter(redis, tmp_path)
    await meter.drain()
    assert await streamed(redis) == []  # it lives: the file is locked
    with next((tmp_path / "spool").iterdir()).open("ab") as file:
        file.write(b'{"request_id": "torn')
    dead.close()
    await meter.drain()
    assert await streamed(redis) == ["req-1", "req-2"]
    assert list((tmp_path / "spool").iterdir()) == []


async def test_closing_without_redis_keeps_the_events(redis_server, tmp_path) -> None:
    redis = connect(redis_server.url)
    redis_server.stop()
    meter = Meter(redis, tmp_path)
    running = asyncio.create_task(meter.run())
    meter.record(event(1))
    running.cancel()
    await meter.close()
    redis_server.start()
    successor = Meter(redis, tmp_path)
    await successor.drain()
    assert await streamed(redis) == ["req-1"]
    await redis.aclose()


async def test_a_flush_that_is_cancelled_loses_nothing(redis_server, tmp_path) -> None:
    redis = connect(redis_server.url)
    meter = Meter(redis, tmp_path)
    meter.record(event(1))
    redis_server.signal(signal.SIGSTOP)
    flushing = asyncio.create_task(meter.flush())
    await asyncio.sleep(0.1)
    flushing.cancel()
    redis_server.signal(signal.SIGCONT)
    await meter.close()
    assert set(await streamed(redis)) == {"req-1"}
    await redis.aclose()
