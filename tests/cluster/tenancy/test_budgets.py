"""Budgets: reserved, settled, rebuilt from SQL, and what an outage means for them."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import ResponseError

from cluster.errors import InvalidRequest, RateLimited, Unavailable
from cluster.settings import RedisFault
from cluster.store import schema
from cluster.store.redis import connect, limits_key
from cluster.store.schema import now
from cluster.store.sql import Database
from cluster.tenancy import admission as admissions
from cluster.tenancy import books
from cluster.tenancy.admission import Admission
from cluster.tenancy.budget import Budget, Period, Terms, new_budget
from cluster.tenancy.lease import BudgetSpent, LimitReached
from cluster.tenancy.limiter import MOST_SPENT
from cluster.tenancy.principal import Limits, Principal
from cluster.usage.money import NANOS
from cluster.usage.spent import spent

MOST = 2**31 - 1
WHO = Principal("org-a", "a", "proj-a", "key-a", frozenset(), Limits(), "salt")
OTHER = replace(WHO, organization_id="org-b", key_id="key-b")
MONTH = Budget("b1", Period.MONTH, usd=10 * NANOS)
NOWHERE = Database("sqlite+aiosqlite:////nowhere/at/all.db")


async def used(database: Database, *costs: int, key: str = "key-a", **more: object) -> None:
    """Requests that are already recorded."""
    async with database.begin() as session:
        for number, cost in enumerate(costs):
            values = {
                "request_id": f"r{number} {time.monotonic_ns()}", "organization_id": "org-a",
                "project_id": "p", "key_id": key, "endpoint": "/v1/chat/completions",
                "model": "budgie", "stream": False, "status": 200, "prompt_tokens": 2,
                "completion_tokens": 1, "cached_tokens": 0, "cost": cost, "latency_ms": 1.0,
                "started_at": now(), **more,
            }  # fmt: skip
            session.add(schema.UsageEvent(**values))


@pytest.fixture
async def filled(sqlite_url: str):
    database = Database(sqlite_url)
    yield database
    await database.close()


@pytest.fixture
async def admission(redis, filled):
    return Admission(redis, filled)


@pytest.mark.parametrize(
    ("period", "name", "start", "end"),
    [
        (
            Period.DAY,
            "2024-02-29",
            datetime(2024, 2, 29, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
        ),
        (
            Period.MONTH,
            "2024-02",
            datetime(2024, 2, 1, tzinfo=UTC),
            datetime(2024, 3, 1, tzinfo=UTC),
        ),
        (Period.TOTAL, "total", None, None),
    ],
)
def test_windows_are_those_of_the_calendar(period, name, start, end) -> None:
    last = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    window = Budget("b", period).window(last)
    assert (window.name, window.start, window.end) == (name, start, end)
    if end is not None:
        following = Budget("b", period).window(last + timedelta(microseconds=1))
        assert following.start == end
    december = Budget("b", Period.MONTH).window(datetime(2024, 12, 31, tzinfo=UTC))
    assert december.end == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_changed_amount_keeps_the_account_and_a_changed_period_does_not() -> None:
    first = new_budget(Terms(Period.MONTH, usd=5))
    assert new_budget(Terms(Period.MONTH, usd=7, tokens=3), first).id == first.id
    assert new_budget(Terms(Period.DAY, usd=5), first).id != first.id
    assert new_budget(Terms(Period.MONTH, usd=5)).id != first.id
    for terms in (Terms(Period.DAY), Terms(Period.DAY, -1), Terms(Period.DAY, None, 10**16)):
        with pytest.raises(InvalidRequest):
            new_budget(terms)


async def test_what_was_spent_is_summed(database) -> None:
    await used(database, 5, 2**52)
    await used(database, 7, key="key-b")
    await used(database, 9, started_at=now() - timedelta(days=40))
    await used(database, 11, organization_id="org-b")
    await used(database, 13, shadow_of="r0")
    month = now() - timedelta(days=32)
    assert await spent(database, "org-a", None, None, None) == (2**52 + 21, 12)
    assert await spent(database, "org-a", None, month, None) == (2**52 + 12, 9)
    assert await spent(database, "org-a", "key-a", month, now()) == (2**52 + 5, 6)
    assert await spent(database, "org-a", None, now(), None) == (0, 0)


async def test_a_sum_larger_than_integers_is_the_most(database) -> None:
    await used(database, 2**62, 2**62, 2**62, prompt_tokens=MOST, completion_tokens=MOST)
    assert await spent(database, "org-a", None, None, None) == (MOST_SPENT, 6 * MOST)


async def test_who_spends_more_than_integers_hold_stops_nobody_else(admission, redis) -> None:
    who, other = replace(WHO, budget=MONTH), replace(OTHER, budget=MONTH)
    for _ in range(10):
        await admission.settle(await admission.admit(who, "a", 1, 0), 1, 2**70)
    account = f"{limits_key('org-a')}:budget:b1:{MONTH.window(now()).name}"
    assert int(await redis.hget(account, "usd")) == MOST_SPENT
    with pytest.raises(BudgetSpent):
        await admission.admit(who, "a", 1, 1)
    assert not (await admission.admit(other, "b", 1, 1)).local


async def test_what_redis_refuses_of_one_is_no_outage(admission, redis) -> None:
    who, other = replace(WHO, budget=MONTH), replace(OTHER, budget=MONTH)
    lease = await admission.admit(who, "a", 1, 1)
    admission._books._doubts.clear()
    await redis.set(f"{limits_key('org-a')}:budget:b1:{MONTH.window(now()).name}", "no hash")
    with pytest.raises(ResponseError):
        await admission.admit(who, "b", 1, 1)
    await admission.settle(lease, 1, 1)
    assert not admission._unsettled, "again would be the same"
    assert len(admission._books._doubts) == 1
    assert not (await admission.admit(other, "c", 1, 1)).local


async def test_a_sum_that_takes_long_delays_nobody_else(redis, filled, monkeypatch) -> None:
    monkeypatch.setattr(books, "LOOK_AGAIN", (0.0, 0.0))
    admission, plain = Admission(redis, filled), books.spent
    who, other = replace(WHO, budget=MONTH), replace(OTHER, budget=MONTH)
    for each in (who, other):
        await admission.settle(await admission.admit(each, "a", 1, 1), 1, 0)

    async def long(database, organization_id, *more):
        if organization_id == "org-a":
            raise TimeoutError
        return await plain(database, organization_id, *more)

    monkeypatch.setattr(books, "spent", long)
    await used(filled, 10 * NANOS, organization_id="org-b")
    await admission.correct()
    with pytest.raises(BudgetSpent):
        await admission.admit(other, "b", 1, 1)
    await redis.flushall()
    assert (await admission.admit(who, "c", 1, 1)).local
    third = replace(OTHER, organization_id="org-c", budget=MONTH)
    assert not (await admission.admit(third, "d", 1, 1)).local


async def test_a_correction_that_fails_ends_no_other(redis, filled, monkeypatch, caplog) -> None:
    monkeypatch.setattr(books, "LOOK_AGAIN", (0.0, 0.0))
    admission, plain = Admission(redis, filled), books.spent
    who, other = replace(WHO, budget=MONTH), replace(OTHER, budget=MONTH)
    for each in (who, other):
        await admission.settle(await admission.admit(each, "a", 1, 1), 1, 0)

    async def fails(database, organization_id, *more):
        if organization_id == "org-a":
            raise RuntimeError("boom")
        return await plain(database, organization_id, *more)

    monkeypatch.setattr(books, "spent", fails)
    await used(filled, 10 * NANOS, organization_id="org-b")
    await admission.correct()
    assert "not corrected" in caplog.text
    with pytest.raises(BudgetSpent):
        await admission.admit(other, "b", 1, 1)


async def test_a_settlement_too_many_is_left_to_sql(redis_server, filled, monkeypatch) -> None:
    monkeypatch.setattr(admissions, "UNSETTLED_MOST", 0)
    redis = connect(redis_server.url)
    admission = Admission(redis, filled)
    lease = await admission.admit(replace(WHO, budget=MONTH), "a", 1, 1)
    admission._books._doubts.clear()
    redis_server.stop()
    await admission.settle(lease, 1, 1)
    assert [doubt.organization_id for doubt in admission._books._doubts.values()] == ["org-a"]
    await redis.aclose()


async def test_a_budget_is_reserved_and_settled_to_the_truth(admission) -> None:
    who = replace(WHO, budget=MONTH)
    lease = await admission.admit(who, "one", 5, 6 * NANOS)
    with pytest.raises(LimitReached, match="6 USD are reserved") as raised:
        await admission.admit(who, "two", 5, 6 * NANOS)
    assert (raised.value.code, raised.value.retry_after) == ("rate_limit_exceeded", 1.0)
    await admission.settle(lease, 2, NANOS)
    await admission.settle(lease, 2, NANOS)  # again is the same as once
    lease = await admission.admit(who, "two", 5, 9 * NANOS)
    await admission.settle(lease, 2, 9 * NANOS)
    with pytest.raises(BudgetSpent) as refused:
        await admission.admit(who, "three", 5, 1)
    error = refused.value
    assert (error.status, error.type, error.code) == (429, *["insufficient_quota"] * 2)
    assert error.message.startswith("You exceeded your current quota, please check your plan")
    window = MONTH.window(now())
    assert error.details == {
        "limit": "budget_usd", "of": "organization", "period": "month", "budget": "10",
        "spent": "10", "reserved": "0", "needed": "0.000000001",
        "resets_at": int(window.end.timestamp()),
    }  # fmt: skip
    assert error.retry_after == pytest.approx((window.end - now()).total_seconds(), abs=5)


async def test_what_failed_costs_nothing(admission) -> None:
    who = replace(WHO, key_budget=Budget("b2", Period.TOTAL, tokens=10))
    for request in "abc":
        lease = await admission.admit(who, request, 10)
        await admission.settle(lease, 0)
    assert (await admission.admit(who, "d", 10)).held


@pytest.mark.parametrize(
    ("budget", "needed", "again"),
    [
        (Budget("b", Period.TOTAL, tokens=10), 5, False),
        (Budget("b", Period.DAY, tokens=10), 11, False),  # never fits
        (Budget("b", Period.DAY, tokens=10), 5, True),
    ],
)
async def test_retry_after_is_told_where_it_helps(admission, filled, budget, needed, again) -> None:
    await used(filled, 0, 0, 0)
    with pytest.raises(BudgetSpent, match="this key's budget of 10 tokens") as raised:
        await admission.admit(replace(WHO, key_budget=budget), "a", needed)
    assert (raised.value.retry_after is not None) == again


async def test_a_full_key_leaves_the_organization_untouched(admission) -> None:
    who = replace(WHO, budget=MONTH, key_budget=Budget("b2", Period.DAY, usd=NANOS))
    for _ in range(3):
        with pytest.raises(BudgetSpent, match="this key's budget of 1 USD"):
            await admission.admit(who, "a", 1, 2 * NANOS)
    assert (await admission.admit(replace(WHO, budget=MONTH), "b", 1, 10 * NANOS)).held


async def test_it_goes_on_with_what_sql_has(admission, filled, redis) -> None:
    await used(filled, 4 * NANOS, 5 * NANOS)
    who = replace(WHO, budget=MONTH)
    with pytest.raises(BudgetSpent):
        await admission.admit(who, "a", 1, 2 * NANOS)
    await admission.settle(await admission.admit(who, "b", 1, NANOS // 2), 1, NANOS // 2)
    await redis.flushall()  # all is lost, and the last request is not in SQL yet
    with pytest.raises(BudgetSpent) as raised:
        await admission.admit(who, "c", 1, NANOS)
    assert raised.value.details["spent"] == "9.5"
    await redis.flushall()
    with pytest.raises(BudgetSpent) as raised:  # another router knows only what SQL does
        await Admission(redis, filled).admit(who, "d", 1, 2 * NANOS)
    assert raised.value.details["spent"] == "9"


async def test_what_came_late_to_sql_is_found(redis, filled, monkeypatch) -> None:
    monkeypatch.setattr(books, "LOOK_AGAIN", (0.0, 0.0))
    admission, who = Admission(redis, filled), replace(WHO, budget=MONTH)
    await admission.settle(await admission.admit(who, "a", 1, 1), 1, 0)
    await used(filled, 10 * NANOS)  # of before Redis was lost, from a router's disk
    assert (await admission.admit(who, "b", 1, NANOS)).held
    await admission.correct()
    with pytest.raises(BudgetSpent):
        await admission.admit(who, "c", 1, NANOS)
    await admission.correct()
    await used(filled, NANOS)
    await admission.correct()  # each doubt ends
    assert not admission._books.due()


async def test_a_router_that_dies_reserves_nothing_for_long(redis, filled) -> None:
    who = replace(WHO, budget=MONTH)
    killed = Admission(redis, filled, lease_seconds=0.2)
    await killed.admit(who, "a", 1, 10 * NANOS)
    alive, end = Admission(redis, filled), time.monotonic() + 5
    while True:
        try:
            lease = await alive.admit(who, "b", 1, 10 * NANOS)
            break
        except LimitReached:
            assert time.monotonic() < end
    await alive.settle(lease, 1, 3 * NANOS)
    account = f"lorikeet:limits:{{org-a}}:budget:b1:{MONTH.window(now()).name}"
    assert await redis.hgetall(account) == {
        b"usd": b"3000000000", b"tokens": b"1", b"held_usd": b"0", b"held_tokens": b"0",
    }  # fmt: skip


async def test_without_redis_it_goes_on_from_what_was_seen(redis_server, filled, caplog) -> None:
    redis, who = connect(redis_server.url), replace(WHO, budget=MONTH)
    admission = Admission(redis, filled, timeout=0.3)
    await admission.settle(await admission.admit(who, "a", 1, 4 * NANOS), 1, 4 * NANOS)
    await admission.settle(await admission.admit(who, "a", 1, 0), 1, 0)
    redis_server.signal(signal.SIGSTOP)
    with caplog.at_level(logging.WARNING):
        started = time.monotonic()
        lease = await admission.admit(who, "b", 1, 5 * NANOS)
        assert time.monotonic() - started < 2
        assert lease.local
        await admission.settle(lease, 1, 5 * NANOS)
        with pytest.raises(RateLimited):
            await admission.admit(who, "c", 1, 2 * NANOS)
    assert len(caplog.records) == 1
    redis_server.signal(signal.SIGCONT)
    end = time.monotonic() + 10
    while (await admission.admit(who, "d", 1)).local:
        assert time.monotonic() < end
    for doubt in admission._books._doubts.values():
        admission._books._put(replace(doubt, at=0.0))
    await admission.correct()  # what was spent meanwhile is told to Redis
    with pytest.raises(BudgetSpent) as raised:
        await Admission(redis, filled).admit(who, "e", 1, 2 * NANOS)
    assert raised.value.details["spent"] == "9"
    await redis.aclose()


async def test_without_redis_or_sql_the_mode_decides(redis, redis_server) -> None:
    """An account that cannot be opened is as no Redis at all."""
    who = replace(WHO, budget=MONTH)
    gone = connect(redis_server.url)
    redis_server.stop()
    for client in (redis, gone):
        with pytest.raises(Unavailable) as raised:
            await Admission(client, NOWHERE, RedisFault.REFUSE).admit(who, "a", 1, 1)
        assert raised.value.retry_after is not None
        admission = Admission(client, NOWHERE)
        assert (await admission.admit(who, "a", 1, 8 * NANOS)).local
        with pytest.raises(LimitReached):
            await admission.admit(who, "b", 1, 8 * NANOS)
    await gone.aclose()
