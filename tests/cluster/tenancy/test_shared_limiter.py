"""That Redis does as the model does, and the same for one process or many."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from cluster.store.redis import connect
from cluster.tenancy.limiter import (
    DAY,
    MINUTE,
    Account,
    Cost,
    Hold,
    Limiter,
    Rate,
    Reservation,
    Settled,
    Subject,
    Verdict,
)
from cluster.tenancy.shared_limiter import SharedLimiter

LIFETIME = 10_000
limits = st.none() | st.sampled_from([0, 1, 2, 3, 7, 60, 1000, 99_999_999])
budgets = st.none() | st.tuples(*[st.none() | st.sampled_from([0, 1, 50, 300, 10**15])] * 2)


class Allowed(NamedTuple):
    """One subject's limits."""

    rpm: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    slots: int | None = None
    budget: tuple[int | None, int | None] | None = None

    def subject(self, name: str, cost: Cost) -> Subject:
        rates = tuple(
            Rate(rate, limit, period, spent)
            for rate, limit, period, spent in [
                ("rpm", self.rpm, MINUTE, 1),
                ("rpd", self.rpd, DAY, 1),
                ("tpm", self.tpm, MINUTE, cost.tokens),
            ]
            if limit is not None
        )
        account = None if self.budget is None else Account("b:total", *self.budget, cost)
        return Subject(name, self.slots, rates, account)


allowed = st.builds(Allowed, limits, limits, limits, limits, budgets)
steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "settle", "renew", "again", "raise"]),
        st.integers(-5, 2000) | st.sampled_from([0, 0, 40_000, DAY]),  # the time may go back
        st.integers(0, 70),  # tokens asked for, or used
        st.integers(0, 9),  # which lease
    ),
    min_size=5,
    max_size=40,
)


@example_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whose=st.lists(allowed, min_size=1, max_size=2),
    lifetime=st.sampled_from([LIFETIME, 10 * MINUTE]),
    steps=steps,
)
# A reservation of which a part has drained, with another behind it.
@example(
    whose=[Allowed(tpm=60)],
    lifetime=10 * MINUTE,
    steps=[("admit", 0, 60, 0), ("admit", 40_000, 30, 0), ("settle", 0, 0, 0), ("admit", 0, 1, 0)],
)
# A budget whose reservations die, and a request that comes back late.
@example(
    whose=[Allowed(slots=3), Allowed(budget=(300, 50))],
    lifetime=LIFETIME,
    steps=[("raise", 0, 1, 0), ("admit", 0, 20, 0), ("admit", 0, 20, 0), ("admit", 0, 20, 0),
           ("settle", 0, 10, 0), ("admit", 40_000, 20, 0), ("settle", 0, 10, 1)],
)  # fmt: skip
# More than integers of 64 bits hold.
@example(
    whose=[Allowed(budget=(None, 5)), Allowed(budget=(5, None))],
    lifetime=LIFETIME,
    steps=[("raise", 0, 0, 0), ("admit", 0, 0, 0), ("admit", 0, 0, 0), ("settle", 0, 2**62, 0),
           ("settle", 0, 2**62, 1), ("raise", 0, 2**62, 0), ("admit", 0, 1, 0)],
)  # fmt: skip
def test_redis_agrees_with_the_model(redis_url, whose, lifetime, steps) -> None:
    asked = asyncio.run(_compare(redis_url, whose, lifetime, steps))
    assert len(asked) == sum(step[0] not in ("renew", "raise") for step in steps)
    assert [answer.redis for answer in asked] == [answer.model for answer in asked]


names = (f"org-{n}" for n in itertools.count())


class Answers(NamedTuple):
    """What both say to the same question."""

    redis: Verdict | Settled
    model: Verdict | Settled


def _holds(subjects: Sequence[Subject], verdict: Verdict) -> list[Hold]:
    resets, holds = iter(verdict.meters), []
    for subject in subjects:
        reserved = None
        for rate, meter in zip(subject.rates, resets, strict=False):
            if rate.name == "tpm":
                reserved = Reservation(rate, verdict.now + meter.reset)
        holds.append(Hold(subject.name, reserved, subject.account))
    return holds


async def _compare(url, whose: list[Allowed], lifetime, steps) -> list[Answers]:
    now, organization = 1_790_000_000_000, next(names)
    redis, model = connect(url), Limiter()
    shared = SharedLimiter(redis, clock=lambda: now)
    leases: list[tuple[str, list[Hold]]] = []
    wanted: dict[str, list[Subject]] = {}
    asked: list[Answers] = []
    for number, (step, pause, tokens, which) in enumerate(steps):
        now += pause
        cost = Cost(tokens * 3, tokens)
        subjects = [
            each.subject(f"{organization}-key" if index else organization, cost)
            for index, each in enumerate(whose)
        ]
        lease, holds = leases[which % len(leases)] if leases else (f"none-{number}", [])
        if step == "settle":
            holds = holds or [Hold(subject.name, None, subject.account) for subject in subjects]
            expected = model.settle(now, lease, holds, cost)
            asked.append(Answers(await shared.settle(organization, lease, holds, cost), expected))
        elif step == "renew":
            for lease, holds in leases[:which]:
                model.renew(now, lifetime, lease, holds)
            await shared.renew(organization, lifetime, dict(leases[:which]))
        elif step == "raise":
            for subject in subjects:
                if subject.account is not None:
                    model.raise_to(subject.name, subject.account.name, cost)
                    await shared.raise_to(organization, subject.name, subject.account, cost)
        else:
            lease = lease if step == "again" else f"lease-{number}"
            subjects = wanted.setdefault(lease, subjects)
            expected = model.admit(now, lease, lifetime, subjects)
            got = await shared.admit(organization, lease, lifetime, subjects)
            asked.append(Answers(got, expected))
            if expected.refused is None and not expected.unknown and lease not in dict(leases):
                leases.append((lease, _holds(subjects, expected)))
    await redis.aclose()
    return asked


RACE = """
from cluster.store.redis import connect
from cluster.tenancy.limiter import CONCURRENT, DAY, Account, Cost, Hold, Rate, Subject
from cluster.tenancy.shared_limiter import SharedLimiter

async def main(index, url):
    redis = connect(url)
    shared = SharedLimiter(redis)
    account = Account("b:total", 10_000, None, Cost(100, 1))
    subjects = [
        Subject("org-race", 5, (Rate("rpd", 150, DAY, 1), Rate("tpd", 20_000, DAY, 100))),
        Subject("key-race", account=account),
    ]
    await shared.raise_to("org-race", "key-race", account, Cost())
    holds = [Hold("org-race"), Hold("key-race", account=account)]
    admitted = 0

    async def request(number):
        nonlocal admitted
        lease = f"{index}-{number}"
        verdict = await shared.admit("org-race", lease, 60_000, subjects)
        while verdict.refused is not None and verdict.wait == 1000:
            # Comes again: slots and reservations are soon free, the rates never.
            await asyncio.sleep(0.001)
            verdict = await shared.admit("org-race", lease, 60_000, subjects)
        if verdict.refused is None:
            admitted += 1
            active = await redis.incr("active")
            assert active <= 5, active
            (balance,) = verdict.balances
            assert balance.spent.usd + balance.held.usd <= 10_000, balance
            await asyncio.sleep(0.001)
            await redis.decr("active")
            settled = await shared.settle("org-race", lease, holds, Cost(75, 1))
            assert settled.found and None not in settled.spent, settled

    for start in range(0, 30, 10):
        await asyncio.gather(*(request(start + i) for i in range(10)))
    os.write(1, b"%d\\n" % admitted)  # at once: the lines of several processes do not mix
    await redis.aclose()
"""


@pytest.mark.slow
async def test_processes_that_race_never_exceed_a_limit(redis, redis_url, in_processes) -> None:
    with in_processes(8, RACE, redis_url) as race:
        output, _ = race.communicate()
    assert race.returncode == 0
    admitted = [int(line) for line in output.split()]
    assert len(admitted) == 8
    # At 75 each of 10,000, as long as 100 are left: the tightest of the limits.
    assert sum(admitted) == 133
    spent = await redis.hgetall("lorikeet:limits:{org-race}:key-race:budget:b:total")
    assert spent == {b"usd": b"9975", b"tokens": b"133", b"held_usd": b"0", b"held_tokens": b"0"}


SEQUENCE = """
from cluster.store.redis import connect
from cluster.tenancy.limiter import MINUTE, Account, Cost, Hold, Rate, Reservation, Subject
from cluster.tenancy.shared_limiter import SharedLimiter

START = 1_790_000_000_000

async def main(index, url, replicas):
    replicas = int(replicas)
    if index >= replicas:
        return
    redis, now = connect(url, timeout=30), START
    shared = SharedLimiter(redis, timeout=30, clock=lambda: now)
    for number in range(index, 160, replicas):
        # Each waits for its turn: the sequence is the same whoever runs it.
        await redis.blpop([f"turn {number}"])
        now = START + number * 137 + number // 25 * 40_000
        tokens, price = 10 + number * 7 % 90, 1 if number % 4 else 4
        rate = Rate("tpm", 600, MINUTE, tokens)
        account = Account("b:total", 2100, 1200, Cost(tokens * price, tokens))
        organization = Subject("org-turns", 6, (Rate("rpm", 90, MINUTE, 1), rate))
        key = Subject("key-turns", None, (Rate("rpm", 19, MINUTE, 1),), account)
        if number == 0:
            await shared.raise_to("org-turns", "key-turns", account, Cost())
        verdict = await shared.admit("org-turns", f"lease {number}", 15_000, [organization, key])
        await redis.rpush("verdicts", repr(verdict))
        if verdict.refused is None and number % 3:  # the others' leases end by themselves
            drained_at = verdict.now + verdict.meters[1].reset
            holds = [
                Hold("org-turns", Reservation(rate, drained_at)),
                Hold("key-turns", account=account),
            ]
            used = Cost(tokens * price // 2, tokens // 2)
            settled = await shared.settle("org-turns", f"lease {number}", holds, used)
            assert settled.found and None not in settled.spent, settled
        await redis.rpush(f"turn {number + 1}", "go")
    await redis.aclose()
"""


@pytest.mark.slow
async def test_one_replica_or_eight_say_the_same(redis, redis_url, in_processes) -> None:
    said = []
    for count in (1, 8):
        await redis.flushall()
        await redis.rpush("turn 0", "go")
        with in_processes(count, SEQUENCE, redis_url, str(count)) as run:
            assert run.wait() == 0
        said.append([verdict.decode() for verdict in await redis.lrange("verdicts", 0, -1)])
    assert len(said[0]) == 160
    assert said[1] == said[0]
    refusals = ("rpm", "tpm", "max_concurrent", "budget_usd", "budget_tokens")
    for refused in (None, *refusals):
        assert any(f"refused={refused!r}" in verdict for verdict in said[0]), refused
