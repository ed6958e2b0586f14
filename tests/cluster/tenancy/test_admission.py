"""Admission: leases, refusals, and Redis going away."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import RateLimited, Unavailable
from cluster.settings import RedisFault
from cluster.store.redis import connect, limits_key
from cluster.store.script import Call, Script
from cluster.store.sql import Database
from cluster.tenancy.admission import Admission
from cluster.tenancy.lease import UNLIMITED, LimitReached
from cluster.tenancy.principal import Limits, Principal


def principal(organization: str = "org-a", **limits: int) -> Principal:
    return Principal(organization, "a", "proj-a", "key-a", frozenset(), Limits(**limits), "salt")


NOWHERE = Database("sqlite+aiosqlite:////nowhere/at/all.db")
"""Without budgets it is not asked."""


@pytest.fixture
async def admission(redis):
    return Admission(redis, NOWHERE)


@pytest.fixture
async def frail(redis_server):
    """An admission whose Redis the test may kill."""
    redis = connect(redis_server.url)
    yield Admission(redis, NOWHERE, timeout=0.5)
    await redis.aclose()


async def test_without_limits_redis_is_not_asked() -> None:
    admission = Admission(connect("unix:///nowhere"), NOWHERE, RedisFault.REFUSE)
    lease = await admission.admit(principal(), "req", 10_000)
    assert lease is UNLIMITED
    assert (lease.requests, lease.tokens) == (None, None)
    await admission.settle(lease, 5)


async def test_a_lease_says_what_is_left(admission) -> None:
    who = principal(requests_per_minute=10, requests_per_day=5, tokens_per_minute=1000)
    lease = await admission.admit(who, "req", 100)
    assert (lease.requests.limit, lease.requests.remaining) == (5, 4)  # the tighter one
    assert lease.requests.reset == pytest.approx(86400 / 5, abs=0.1)
    assert (lease.tokens.limit, lease.tokens.remaining) == (1000, 900)
    assert lease.tokens.reset == pytest.approx(6, abs=0.1)
    other = await admission.admit(principal("org-b", max_concurrent=1), "req", 100)
    assert (other.requests, other.tokens) == (None, None)


async def test_a_refusal_says_which_limit_and_when(admission) -> None:
    who = principal(requests_per_minute=60, tokens_per_minute=600)
    await admission.admit(who, "one", 600)
    with pytest.raises(LimitReached) as raised:
        await admission.admit(who, "two", 6)
    error = raised.value
    assert (error.status, error.limit, error.details) == (
        429,
        "tokens_per_minute",
        {"limit": "tokens_per_minute", "of": "organization"},
    )
    assert error.retry_after == pytest.approx(0.6, abs=0.1)
    assert error.requests.remaining == 59  # nothing was taken
    assert error.tokens.remaining <= 5
    assert "600 tokens per minute" in error.message
    await asyncio.sleep(error.retry_after)
    await admission.admit(who, "two", 6)


async def test_what_never_fits_names_no_time(admission) -> None:
    with pytest.raises(RateLimited, match="asks for 101 tokens") as raised:
        await admission.admit(principal(tokens_per_minute=100), "req", 101)
    assert raised.value.retry_after is None


async def test_a_lower_limit_does_not_lock_out(admission) -> None:
    await admission.admit(principal(tokens_per_minute=1_000_000), "req", 900_000)
    who = principal(tokens_per_minute=100)
    assert (await admission.admit(who, "req", 100)).tokens.remaining == 0
    with pytest.raises(LimitReached) as raised:
        await admission.admit(who, "req", 100)
    assert raised.value.retry_after <= 60


async def test_a_keys_own_limits_hold_beside_the_organizations(admission) -> None:
    who = principal(requests_per_day=10, tokens_per_minute=1000)
    tight = replace(who, key_limits=Limits(requests_per_day=2, tokens_per_minute=5000))
    lease = await admission.admit(tight, "one", 100)
    assert (lease.requests.limit, lease.requests.remaining) == (2, 1)
    assert (lease.tokens.limit, lease.tokens.remaining) == (1000, 900)
    await admission.admit(tight, "two", 100)
    with pytest.raises(LimitReached, match="This key's limit of 2 requests per day") as raised:
        await admission.admit(tight, "three", 100)
    assert raised.value.details == {"limit": "requests_per_day", "of": "key"}
    other = replace(who, key_id="key-b", key_limits=Limits(requests_per_day=20))
    assert (await admission.admit(other, "four", 100)).requests.remaining == 7  # of all keys


async def test_settling_happens_once(admission) -> None:
    who = principal(tokens_per_minute=10_000, max_concurrent=1)
    lease = await admission.admit(who, "req", 8000)
    with pytest.raises(LimitReached, match="at the same time"):
        await admission.admit(who, "req", 10)
    await asyncio.gather(*(admission.settle(lease, 1000) for _ in range(3)))
    after = await admission.admit(who, "req", 0)
    assert after.tokens.remaining == pytest.approx(9000, abs=100)


async def test_who_leaves_while_redis_grants_keeps_nothing(admission, monkeypatch) -> None:
    who = principal(max_concurrent=1)
    granted, answers, plain = asyncio.Event(), asyncio.Event(), Script._evaluate

    async def slow(script: Script, calls: Sequence[Call]) -> list[Any]:
        told = await plain(script, calls)
        granted.set()
        await answers.wait()
        return told

    with monkeypatch.context() as patched:
        patched.setattr(Script, "_evaluate", slow)
        leaves = asyncio.create_task(admission.admit(who, "req", 10))
        refused = asyncio.create_task(admission.admit(who, "other", 10))
        await granted.wait()
        leaves.cancel()
        refused.cancel()
        await asyncio.wait([leaves, refused])
    assert leaves.cancelled()
    assert refused.cancelled()
    answers.set()
    await asyncio.gather(*admission._unheard)
    assert not admission._unheard
    await admission.admit(who, "req", 10)


async def test_equal_request_ids_are_requests_of_their_own(admission) -> None:
    who = principal(requests_per_minute=2, max_concurrent=2)
    await admission.admit(who, "mine", 1)
    await admission.admit(who, "mine", 1)
    with pytest.raises(LimitReached):
        await admission.admit(who, "mine", 1)


async def test_a_killed_routers_leases_leave_and_a_live_ones_stay(redis) -> None:
    who = principal(max_concurrent=2)
    killed, alive = (Admission(redis, NOWHERE, lease_seconds=0.3) for _ in range(2))
    renewing = asyncio.create_task(alive.run())
    await killed.admit(who, "req", 1)
    await alive.admit(who, "req", 1)
    with pytest.raises(LimitReached):
        await alive.admit(who, "req", 1)
    await asyncio.sleep(0.5)
    await alive.admit(who, "req", 1)
    with pytest.raises(LimitReached):
        await alive.admit(who, "req", 1)
    renewing.cancel()
    assert await redis.pttl(limits_key("org-a") + ":leases") > 0


async def test_redis_gone_means_the_local_estimate(frail, redis_server, caplog) -> None:
    who = principal(requests_per_minute=2, tokens_per_minute=100)
    redis_server.stop()
    with caplog.at_level(logging.WARNING):
        lease = await frail.admit(who, "req", 50)
        assert lease.local
        assert (lease.requests.remaining, lease.tokens.remaining) == (1, 50)
        await frail.settle(lease, 0)
        assert (await frail.admit(who, "req", 90)).tokens.remaining >= 10
        with pytest.raises(LimitReached):
            await frail.admit(who, "req", 1)
    assert len(caplog.records) == 1
    redis_server.start()
    await asyncio.sleep(1.1)
    assert not (await frail.admit(who, "req", 50)).local


async def test_redis_gone_may_mean_refusal(redis_server) -> None:
    redis = connect(redis_server.url)
    redis_server.stop()
    with pytest.raises(Unavailable) as raised:
        await Admission(redis, NOWHERE, RedisFault.REFUSE).admit(
            principal(max_concurrent=1), "req", 1
        )
    assert raised.value.retry_after == 2.0
    await redis.aclose()


async def test_a_redis_that_hangs_delays_few_requests(frail, redis_server) -> None:
    who = principal(requests_per_day=1000)  # by the minute some would drain while the test runs
    await frail.admit(who, "req", 1)
    redis_server.signal(signal.SIGSTOP)
    started = time.monotonic()
    assert (await frail.admit(who, "req", 1)).local
    assert time.monotonic() - started < 2.0
    started = time.monotonic()
    for _ in range(100):
        await frail.admit(who, "req", 1)
    assert time.monotonic() - started < 2.0  # one a second tries; 100 timeouts are 50 s
    redis_server.signal(signal.SIGCONT)
    while (await frail.admit(who, "req", 1)).local:
        await asyncio.sleep(0.1)
    # The connections that were given up have not mixed up their answers.
    leases = await asyncio.gather(*(frail.admit(who, "req", 1) for _ in range(20)))
    shared = [lease.requests.remaining for lease in leases if not lease.local]
    assert len(set(shared)) == len(shared) > 0


async def test_a_settlement_waits_for_redis(frail, redis_server) -> None:
    who = principal(max_concurrent=1)
    lease = await frail.admit(who, "req", 1)
    redis_server.signal(signal.SIGSTOP)
    await frail.settle(lease, 1)
    redis_server.signal(signal.SIGCONT)
    running = asyncio.create_task(frail.run())
    async with asyncio.timeout(4):
        while frail._unsettled:
            await asyncio.sleep(0.05)
    assert not (await frail.admit(who, "req", 1)).local
    running.cancel()
