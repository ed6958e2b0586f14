"""The recorder: each request once in SQL, whatever dies."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from cluster.errors import Unavailable
from cluster.store import schema
from cluster.store.redis import USAGE_DEAD, USAGE_GROUP, USAGE_STREAM, connect
from cluster.store.sql import Database
from cluster.usage.event import UsageEvent
from cluster.usage.recorder import Recorder
from cluster.usage.totals import Total, totals
from tests.cluster.usage.test_event import EVENT


async def send(redis, *events: UsageEvent) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for event in events:
            pipeline.xadd(USAGE_STREAM, {"event": event.to_json()})
        await pipeline.execute()


def events(count: int, first: int = 0) -> list[UsageEvent]:
    return [replace(EVENT, request_id=f"req-{n}") for n in range(first, first + count)]


async def rows(database) -> int:
    async with database.begin() as session:
        return await session.scalar(select(func.count()).select_from(schema.UsageEvent))


async def ids(database) -> set[str]:
    async with database.begin() as session:
        return set(await session.scalars(select(schema.UsageEvent.request_id)))


async def left(redis) -> bool:
    """Whether all messages have left the stream, which they do after their rows are there."""
    return await redis.xlen(USAGE_STREAM) == 0


async def until(check, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(recorder: Recorder):
    task = asyncio.create_task(recorder.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_events_become_rows_once_and_leave_the_stream(database, redis) -> None:
    long = replace(EVENT, request_id="long", end_user="x" * 999 + "\0")
    sent = [*events(1100), *events(50), long]
    await send(redis, *sent)

    async def drained() -> bool:
        return await redis.xlen(USAGE_STREAM) == 0

    async with running(Recorder(redis, database)):
        await until(drained)
    assert await rows(database) == 1101
    assert (await redis.xpending(USAGE_STREAM, USAGE_GROUP))["pending"] == 0
    async with database.begin() as session:
        row = await session.get(schema.UsageEvent, "long")
    assert (row.model, row.prompt_tokens, row.started_at) == ("budgie", 12, EVENT.started_at)
    assert len(row.end_user) == 255


async def test_poison_goes_to_the_dead_letters_with_its_reason(database, redis) -> None:
    await redis.xadd(USAGE_STREAM, {"event": "{"})
    await send(redis, *events(3))
    await redis.xadd(USAGE_STREAM, {"nothing": "here"})

    async def drained() -> bool:
        return await redis.xlen(USAGE_STREAM) == 0

    async with running(Recorder(redis, database)):
        await until(drained)
    assert await rows(database) == 3
    first, second = [fields for _, fields in await redis.xrange(USAGE_DEAD)]
    assert first[b"event"] == b"{"
    assert b"property name" in first[b"reason"]
    assert second[b"reason"] == b"no field 'event'"


async def test_a_row_that_sql_refuses_takes_no_other_with_it(database, redis, monkeypatch) -> None:
    row = UsageEvent.row
    monkeypatch.setattr(
        UsageEvent, "row", lambda event: {**row(event), "key_id": None}
        if event.request_id == "req-1" else row(event),
    )  # fmt: skip
    await send(redis, *events(3))

    async def drained() -> bool:
        return await redis.xlen(USAGE_STREAM) == 0

    async with running(Recorder(redis, database)):
        await until(drained)
    assert await rows(database) == 2
    ((_, letter),) = await redis.xrange(USAGE_DEAD)
    assert b"key_id" in letter[b"reason"]


class FrailDatabase(Database):
    away = False

    @asynccontextmanager
    async def begin(self):
        if self.away:
            raise Unavailable("The database does not answer.")
        async with super().begin() as session:
            yield session


async def test_a_database_that_is_away_is_waited_for(database_url, redis, caplog) -> None:
    database = FrailDatabase(database_url)
    database.away = True
    async with running(Recorder(redis, database)):
        await send(redis, *events(20))
        await asyncio.sleep(0.6)
        assert await redis.xlen(USAGE_STREAM) == 20
        database.away = False

        async def recorded() -> bool:
            return await rows(database) == 20

        await until(recorded)
    assert sum("not recorded" in record.message for record in caplog.records) == 1
    await database.close()


async def test_redis_may_come_back_empty(sqlite_url, redis_server) -> None:
    redis, database = connect(redis_server.url), Database(sqlite_url)
    async with running(Recorder(redis, database)):
        await send(redis, *events(5))

        async def recorded(count: int) -> bool:
            return await rows(database) == count

        await until(lambda: recorded(5))
        redis_server.stop()
        await asyncio.sleep(0.2)
        redis_server.start()
        await send(redis, *events(5, first=5))
        await until(lambda: recorded(10))
        await until(lambda: left(redis))
    assert await ids(database) == {event.request_id for event in events(10)}
    assert (await redis.xpending(USAGE_STREAM, USAGE_GROUP))["pending"] == 0
    await redis.aclose()
    await database.close()


RECORD = """
from cluster.store.redis import connect
from cluster.store.sql import Database
from cluster.usage import recorder

recorder.BATCH = 50

async def main(index, redis_url, sql_url):
    redis = connect(redis_url)
    await redis.set(f"pid-{index}", os.getpid())
    while not await redis.exists(f"go-{index}"):
        await asyncio.sleep(0.01)
    await recorder.Recorder(redis, Database(sql_url)).run()
"""


@pytest.mark.slow
async def test_a_recorder_killed_under_load(database, redis, redis_url, in_processes) -> None:
    """SIGKILL at any moment: each event is in SQL exactly once in the end."""
    numbers, stop = itertools.count(), asyncio.Event()

    async def more(count: int) -> None:
        ids = [f"req-{next(numbers)}" for _ in range(count)]
        await send(redis, *(replace(EVENT, request_id=id_) for id_ in ids))

    async def load() -> None:
        while not stop.is_set():
            await more(20)
            await asyncio.sleep(0.02)

    recorders = in_processes(2, RECORD, redis_url, database.url)
    for index in range(2):
        await until(lambda index=index: redis.exists(f"pid-{index}"), 30.0)
    loading = asyncio.create_task(load())
    for index in range(2):
        await more(2500)  # so that no kill finds it idle
        before = await rows(database)
        await redis.set(f"go-{index}", "now")

        async def at_work(before: int = before) -> bool:
            return await rows(database) > before

        await until(at_work)
        await asyncio.sleep(random.uniform(0, 0.05))
        os.kill(int(await redis.get(f"pid-{index}")), signal.SIGKILL)
        assert await redis.xlen(USAGE_STREAM) > 0, "it was killed with nothing to do"
    recorders.communicate()
    stop.set()
    await loading

    async def drained() -> bool:
        return await redis.xlen(USAGE_STREAM) == 0

    async with running(Recorder(redis, database)):
        await until(drained)
    assert await rows(database) == next(numbers)
    assert await redis.exists(USAGE_DEAD) == 0
    assert (await redis.xpending(USAGE_STREAM, USAGE_GROUP))["pending"] == 0


async def test_messages_of_a_dead_consumer_are_taken_over(database, redis) -> None:
    await redis.xgroup_create(USAGE_STREAM, USAGE_GROUP, id="0", mkstream=True)
    await send(redis, *events(3))
    await redis.xreadgroup(USAGE_GROUP, "dead", {USAGE_STREAM: ">"}, count=2)

    async def recorded() -> bool:
        return await rows(database) == 3

    async with running(Recorder(redis, database)):
        await until(recorded)
        await until(lambda: left(redis))
    assert await ids(database) == {event.request_id for event in events(3)}
    assert (await redis.xpending(USAGE_STREAM, USAGE_GROUP))["pending"] == 0


LEFT = {"status": 499, "error_code": "client_gone"}


async def test_totals_by_day_and_model(database, redis) -> None:
    day = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    sent = [
        replace(EVENT, request_id="1", started_at=day, cost=3),
        replace(EVENT, request_id="2", started_at=day, status=429, prompt_tokens=0, cost=2),
        replace(EVENT, request_id="3", started_at=day, model="other", cached_tokens=4),
        replace(EVENT, request_id="4", started_at=day + timedelta(seconds=2), cost=2**40),
        replace(EVENT, request_id="5", started_at=day, organization_id="org-2"),
        replace(EVENT, request_id="6", started_at=day - timedelta(days=9)),
        replace(EVENT, request_id="7", started_at=day, model="torn", error_code="engine_error"),
        replace(EVENT, request_id="8", started_at=day, model="torn", status=502, error_code="x"),
        replace(EVENT, request_id="9", started_at=day, model="left", **LEFT),
        replace(
            EVENT,
            request_id="10",
            started_at=day,
            model="left",
            **LEFT,
            prompt_tokens=0,
            completion_tokens=0,
        ),
        replace(EVENT, request_id="11", started_at=day, cost=7, shadow_of="1"),
    ]
    messages = [
        (b"%d-0" % n, {b"event": event.to_json().encode()}) for n, event in enumerate(sent, 1)
    ]
    recorder = Recorder(redis, database)
    await recorder._join()
    await recorder.record(messages)
    found = await totals(database, "org-1", day - timedelta(days=1), day + timedelta(days=1))
    assert list(found) == [
        Total(date(2026, 11, 21), "budgie", 1, 0, 12, 64, 0, 2**40),
        Total(date(2026, 11, 20), "budgie", 1, 1, 12, 128, 0, 5),
        Total(date(2026, 11, 20), "left", 1, 1, 12, 64, 0, 0),
        Total(date(2026, 11, 20), "other", 1, 0, 12, 64, 4, 0),
        Total(date(2026, 11, 20), "torn", 0, 2, 24, 128, 0, 0),
    ]
    assert all(type(total.requests) is int for total in found)
