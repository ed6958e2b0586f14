"""The limiter that all routers share: admission.lua on Redis."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from cluster.store.redis import limits_key
from cluster.store.script import Script
from cluster.tenancy.limiter import (
    BUDGET_TOKENS,
    BUDGET_USD,
    CONCURRENT,
    DAY,
    Account,
    Balance,
    Cost,
    Hold,
    Meter,
    Settled,
    Subject,
    Verdict,
)

SCRIPT = Path(__file__).with_name("admission.lua").read_text()
OF_ACCOUNTS = {-1: CONCURRENT, -2: BUDGET_USD, -3: BUDGET_TOKENS}
"""What refuses, where it is no rate."""
KEEP = 40 * DAY
"""How long an account outlives its last use: longer than a month. Then SQL is asked again."""


class SharedLimiter:
    """`limiter.Limiter` of every organization. Each call is one round trip of bounded length.

    Raises RedisError or OSError where Redis is away.
    """

    def __init__(
        self, redis: Redis, *, timeout: float = 1.0, clock: Callable[[], int] | None = None
    ) -> None:
        self._script = Script(redis, SCRIPT, timeout=timeout)
        self._clock = clock
        """Only tests give one; else the server's clock counts."""

    async def admit(
        self, organization: str, lease: str, lifetime: int, subjects: Sequence[Subject]
    ) -> Verdict:
        keys: list[str] = []
        arguments: list[str | int] = ["admit", lease, lifetime, len(subjects)]
        for subject in subjects:
            slots = -1 if subject.slots is None else subject.slots
            arguments += slots, len(subject.rates)
            keys += _keys(organization, subject.name, subject.account)
            for rate in subject.rates:
                arguments += rate.name, rate.limit, rate.period, rate.cost
            arguments += _account(subject.account)
        reply: list[int] = await self._run(keys, arguments)
        return _verdict(reply, subjects)

    async def settle(
        self, organization: str, lease: str, holds: Sequence[Hold], used: Cost
    ) -> Settled:
        keys: list[str] = []
        arguments: list[str | int] = ["settle", lease, used.usd, used.tokens, len(holds)]
        for hold in holds:
            keys += _keys(organization, hold.subject, hold.account)
            if hold.reserved is None:
                arguments.append(0)
            else:
                rate = hold.reserved.rate
                arguments += 1, rate.name, rate.limit, rate.period, rate.cost
                arguments.append(hold.reserved.drained_at)
            if hold.account is None:
                arguments.append(0)
            else:
                arguments += 1, KEEP, *hold.account.cost
        found, *amounts = await self._run(keys, arguments)
        spent = tuple(
            None if usd < 0 else Cost(usd, tokens)
            for usd, tokens in zip(amounts[::2], amounts[1::2], strict=True)
        )
        return Settled(bool(found), spent)

    async def renew(
        self, organization: str, lifetime: int, leases: Mapping[str, Sequence[Hold]]
    ) -> None:
        """Keep leases that still exist."""
        members: dict[str, list[str]] = defaultdict(list)
        for lease, holds in leases.items():
            for hold in holds:
                _, of_leases, *of_account = _keys(organization, hold.subject, hold.account)
                members[of_leases].append(lease)
                if hold.account is not None:
                    usd, tokens = hold.account.cost
                    members[of_account[1]].append(f"{lease} {usd} {tokens}")
        # Together: the script's calls of one moment share a round trip.
        await asyncio.gather(
            *(self._run([key], ["renew", lifetime, *names]) for key, names in members.items())
        )

    async def raise_to(
        self, organization: str, subject: str, account: Account, spent: Cost
    ) -> None:
        """Open an account, or correct one that has heard of less."""
        *_, key, _ = _keys(organization, subject, account)
        await self._run([key], ["raise", KEEP, *spent])

    async def _run(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        now = "" if self._clock is None else self._clock()
        return await self._script(keys, [now, *arguments])


def _keys(organization: str, subject: str, account: Account | None) -> Sequence[str]:
    return _names(organization, subject, None if account is None else account.name)


@lru_cache(maxsize=4096)
def _names(organization: str, subject: str, account: str | None) -> Sequence[str]:
    own = limits_key(organization)
    if subject != organization:
        own = f"{own}:{subject}"
    if account is None:
        return own, f"{own}:leases"
    budget = f"{own}:budget:{account}"
    return own, f"{own}:leases", budget, f"{budget}:holds"


def _account(account: Account | None) -> Sequence[int]:
    if account is None:
        return (0,)
    usd, tokens = (-1 if limit is None else limit for limit in (account.usd, account.tokens))
    return 1, KEEP, usd, tokens, *account.cost


def _verdict(reply: Sequence[int], subjects: Sequence[Subject]) -> Verdict:
    now, refused, what, wait, *numbers = reply
    end = 2 * sum([len(subject.rates) for subject in subjects])
    meters = tuple([Meter(numbers[i], numbers[i + 1]) for i in range(0, end, 2)])
    balances = tuple(
        [
            Balance(None if usd < 0 else Cost(usd, tokens), Cost(held_usd, held_tokens))
            for usd, tokens, held_usd, held_tokens in zip(*[iter(numbers[end:])] * 4, strict=True)
        ]
    )
    if refused == 0:
        return Verdict(now, None, 0, meters, 0, balances)
    name = OF_ACCOUNTS[what] if what < 0 else subjects[refused - 1].rates[what - 1].name
    return Verdict(now, name, None if wait < 0 else wait, meters, refused - 1, balances)
