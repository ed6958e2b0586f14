"""The limiter's arithmetic, and that Redis does the same."""

from __future__ import annotations

import asyncio
import itertools
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from cluster.store.redis import connect
from cluster.tenancy.limiter import (
    CONCURRENT,
    CONCURRENT_WAIT,
    DAY,
    MINUTE,
    Limiter,
    Rate,
    Reservation,
    Verdict,
)
from cluster.tenancy.shared_limiter import SharedLimiter

LIFETIME = 10_000


def _requests(limit: int, period: int = MINUTE) -> Rate:
    return Rate("requests", limit, period, 1)


def _tokens(limit: int, cost: int) -> Rate:
    return Rate("tokens", limit, MINUTE, cost)


def test_a_burst_of_the_limit_then_one_at_a_time() -> None:
    limiter, rate = Limiter(), _requests(60)
    for left in range(59, -1, -1):
        verdict = limiter.admit(0, "", 0, None, [rate])
        assert verdict.refused is None
        assert verdict.meters[0].remaining == left
    refused = limiter.admit(0, "", 0, None, [rate])
    assert (refused.refused, refused.wait, refused.meters[0].reset) == ("requests", 1000, MINUTE)
    assert limiter.admit(999, "", 0, None, [rate]).wait == 1
    assert limiter.admit(1000, "", 0, None, [rate]).refused is None


def test_a_refusal_takes_nothing_of_any_limit() -> None:
    limiter = Limiter()
    rates = [_requests(10), _tokens(100, 80)]
    assert limiter.admit(0, "a", LIFETIME, 5, rates).refused is None
    refused = limiter.admit(0, "b", LIFETIME, 5, rates)
    assert refused.refused == "tokens"
    assert [meter.remaining for meter in refused.meters] == [9, 20]
    assert not limiter.settle(0, "b", None, 0)


def test_the_longest_wait_is_the_answer() -> None:
    limiter = Limiter()
    rates = [_requests(60), _requests(1, DAY), _tokens(10, 20)]
    day = [rates[0], Rate("day", 1, DAY, 1)]
    limiter.admit(0, "", 0, None, day)
    assert limiter.admit(1, "", 0, 0, day[:1]).wait is None
    verdict = limiter.admit(1000, "", 0, 3, day)
    assert (verdict.refused, verdict.wait) == ("day", DAY - 1000)


@pytest.mark.parametrize("rates", [[_requests(0)], [_tokens(10, 11)], [_tokens(0, 1)]])
def test_what_never_fits_has_no_time_to_wait_for(rates) -> None:
    verdict = Limiter().admit(0, "", 0, None, rates)
    assert (verdict.refused, verdict.wait) == (rates[0].name, None)


def test_slots_are_freed_by_settling_and_by_death() -> None:
    limiter = Limiter()
    assert limiter.admit(0, "a", LIFETIME, 2, []).refused is None
    assert limiter.admit(0, "b", LIFETIME, 2, []).refused is None
    refused = limiter.admit(0, "c", LIFETIME, 2, [])
    assert (refused.refused, refused.wait) == (CONCURRENT, CONCURRENT_WAIT)
    assert limiter.settle(1, "a", None, 0)
    assert not limiter.settle(1, "a", None, 0)
    assert limiter.admit(2, "c", LIFETIME, 2, []).refused is None
    limiter.renew(LIFETIME - 1, LIFETIME, ["b", "gone"])
    assert limiter.admit(LIFETIME + 2, "d", LIFETIME, 2, []).refused is None  # c died
    assert limiter.admit(LIFETIME + 2, "e", LIFETIME, 2, []).refused == CONCURRENT  # b lives


def _reserve(limiter: Limiter, now: int, lease: str, limit: int, cost: int) -> Reservation:
    rate = _tokens(limit, cost)
    verdict = limiter.admit(now, lease, LIFETIME, None, [rate])
    assert verdict.refused is None
    return Reservation(rate, verdict.now + verdict.meters[0].reset)


def _remaining(limiter: Limiter, now: int, limit: int) -> int:
    return limiter.admit(now, "probe", 0, None, [_tokens(limit, 0)]).meters[0].remaining


def test_settling_refunds_what_was_not_used() -> None:
    limiter = Limiter()
    reservation = _reserve(limiter, 0, "a", 60_000, 5000)
    assert _remaining(limiter, 0, 60_000) == 55_000
    limiter.settle(1000, "a", reservation, 1500)
    assert _remaining(limiter, 1000, 60_000) == 59_500  # 1000 have drained, 500 are left


def test_settling_debits_what_was_used_beyond() -> None:
    limiter = Limiter()
    reservation = _reserve(limiter, 0, "a", 60, 10)
    limiter.settle(0, "a", reservation, 100)
    assert _remaining(limiter, 0, 60) == 0
    assert limiter.admit(0, "b", LIFETIME, None, [_tokens(60, 1)]).wait == 41_000


def test_what_has_drained_is_not_refunded() -> None:
    """Else a tenant could reserve much, wait, and use its minute twice."""
    limiter = Limiter()
    first = _reserve(limiter, 0, "a", 60, 60)
    _reserve(limiter, MINUTE, "b", 60, 60)
    limiter.renew(0, 2 * MINUTE, ["a"])
    limiter._leases["a"] = 2 * MINUTE
    assert limiter.settle(MINUTE, "a", first, 0)
    assert _remaining(limiter, MINUTE, 60) == 0


def test_a_changed_limit_begins_anew() -> None:
    limiter = Limiter()
    for limit in (60_000, 60):
        verdict = limiter.admit(0, f"of {limit}", LIFETIME, None, [_tokens(limit, limit)])
        assert (verdict.refused, verdict.meters[0].reset) == (None, MINUTE)
    assert limiter.admit(0, "again", LIFETIME, None, [_tokens(60_000, 1)]).wait == 1


def test_a_repeated_request_is_the_same_lease() -> None:
    limiter, rates = Limiter(), [_tokens(100, 60)]
    assert limiter.admit(0, "a", LIFETIME, 1, rates).refused is None
    again = limiter.admit(0, "a", LIFETIME, 1, rates)
    assert (again.refused, again.meters[0].remaining) == (None, 40)


limits = st.none() | st.sampled_from([0, 1, 2, 3, 7, 60, 1000, 99_999_999])
steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "settle", "renew", "again"]),
        st.integers(-5, 2000) | st.sampled_from([0, 0, 40_000, DAY]),  # the time may go back
        st.integers(0, 70),  # tokens asked for, or used
        st.integers(0, 9),  # which lease
    ),
    min_size=5,
    max_size=40,
)


@example_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.tuples(limits, limits, limits, limits),
    lifetime=st.sampled_from([LIFETIME, 10 * MINUTE]),
    steps=steps,
)
# A reservation of which a part has drained, with another behind it.
@example(
    limits=(None, None, 60, None),
    lifetime=10 * MINUTE,
    steps=[("admit", 0, 60, 0), ("admit", 40_000, 30, 0), ("settle", 0, 0, 0), ("admit", 0, 1, 0)],
)
def test_redis_agrees_with_the_model(redis_url, limits, lifetime, steps) -> None:
    asked = asyncio.run(_compare(redis_url, limits, lifetime, steps))
    assert len(asked) == sum(step[0] != "renew" for step in steps)
    assert [answer.redis for answer in asked] == [answer.model for answer in asked]


names = (f"org-{n}" for n in itertools.count())


class Answers(NamedTuple):
    """What both say to the same question."""

    redis: Verdict | bool
    model: Verdict | bool


async def _compare(url, limits, lifetime, steps) -> list[Answers]:
    rpm, rpd, tpm, slots = limits
    now, organization = 1_790_000_000_000, next(names)
    redis, model = connect(url), Limiter()
    shared = SharedLimiter(redis, clock=lambda: now)
    leases: list[tuple[str, Reservation | None]] = []
    asked: list[Answers] = []
    for number, (step, pause, tokens, which) in enumerate(steps):
        now += pause
        lease, reserved = leases[which % len(leases)] if leases else ("none", None)
        if step == "settle":
            expected = model.settle(now, lease, reserved, tokens)
            got = await shared.settle(organization, lease, reserved, tokens)
            asked.append(Answers(got, expected))
        elif step == "renew":
            ids = [lease for lease, _ in leases[:which]]
            model.renew(now, lifetime, ids)
            await shared.renew(organization, lifetime, ids)
        else:
            rates = [
                Rate(name, limit, period, cost)
                for name, limit, period, cost in [
                    ("rpm", rpm, MINUTE, 1),
                    ("rpd", rpd, DAY, 1),
                    ("tpm", tpm, MINUTE, tokens),
                ]
                if limit is not None
            ]
            lease = lease if step == "again" else f"lease-{number}"
            expected = model.admit(now, lease, lifetime, slots, rates)
            asked.append(
                Answers(await shared.admit(organization, lease, lifetime, slots, rates), expected)
            )
            if expected.refused is None and step == "admit":
                reserved = None
                if tpm is not None:
                    reserved = Reservation(rates[-1], now + expected.meters[-1].reset)
                leases.append((lease, reserved))
    await redis.aclose()
    return asked


RACE = """
from cluster.store.redis import connect
from cluster.tenancy.limiter import CONCURRENT, DAY, Rate, Reservation
from cluster.tenancy.shared_limiter import SharedLimiter

async def main(index, url):
    redis = connect(url)
    shared = SharedLimiter(redis)
    rates = [Rate("rpd", 150, DAY, 1), Rate("tpd", 10_000, DAY, 100)]
    admitted = running = 0

    async def request(number):
        nonlocal admitted
        lease = f"{index}-{number}"
        verdict = await shared.admit("org-race", lease, 60_000, 5, rates)
        while verdict.refused == CONCURRENT:  # comes again: slots are soon free, the rates never
            await asyncio.sleep(0.001)
            verdict = await shared.admit("org-race", lease, 60_000, 5, rates)
        if verdict.refused is None:
            admitted += 1
            active = await redis.incr("active")
            assert active <= 5, active
            await asyncio.sleep(0.001)
            await redis.decr("active")
            assert await shared.settle("org-race", lease, None, 0)

    for start in range(0, 50, 10):
        await asyncio.gather(*(request(start + i) for i in range(10)))
    os.write(1, b"%d\\n" % admitted)  # at once: the lines of several processes do not mix
    await redis.aclose()
"""


async def test_processes_that_race_never_exceed_a_limit(redis, redis_url, in_processes) -> None:
    with in_processes(4, RACE, redis_url) as race:
        output, _ = race.communicate()
    assert race.returncode == 0
    admitted = [int(line) for line in output.split()]
    assert len(admitted) == 4
    assert sum(admitted) == 100  # 10,000 tokens at 100 each: the tightest of the limits


@given(
    limit=st.integers(1, 1000),
    costs=st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    pauses=st.lists(st.integers(0, 20_000), min_size=20, max_size=20),
)
def test_the_wait_is_exact_to_the_millisecond(limit, costs, pauses) -> None:
    limiter, now = Limiter(), 0
    for cost, pause in zip(costs, pauses, strict=False):
        rates = [_tokens(limit, cost)]
        verdict = limiter.admit(now, "", 0, None, rates)
        if verdict.refused is not None and verdict.wait is not None:
            assert limiter.admit(now + verdict.wait - 1, "", 0, None, rates).refused is not None
            now += verdict.wait
            assert limiter.admit(now, "", 0, None, rates).refused is None
        now += pause
