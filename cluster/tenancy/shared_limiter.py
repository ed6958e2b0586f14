"""The limiter that all routers share: admission.lua on Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from cluster.store.redis import limits_key
from cluster.store.script import Script
from cluster.tenancy.limiter import CONCURRENT, Meter, Rate, Reservation, Verdict

SCRIPT = Path(__file__).with_name("admission.lua").read_text()


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
        self, organization: str, lease: str, lifetime: int, slots: int | None, rates: Sequence[Rate]
    ) -> Verdict:
        arguments: list[str | int] = ["admit", lease, lifetime, -1 if slots is None else slots]
        for rate in rates:
            arguments += rate.name, rate.limit, rate.period, rate.cost
        now, refused, wait, *numbers = await self._run(organization, arguments)
        meters = tuple(
            Meter(remaining, reset)
            for remaining, reset in zip(numbers[::2], numbers[1::2], strict=True)
        )
        if refused == 0:
            return Verdict(now, None, 0, meters)
        name = CONCURRENT if refused < 0 else rates[refused - 1].name
        return Verdict(now, name, None if wait < 0 else wait, meters)

    async def settle(
        self, organization: str, lease: str, reserved: Reservation | None, used: int
    ) -> bool:
        arguments: list[str | int] = ["settle", lease, used]
        if reserved is not None:
            rate = reserved.rate
            arguments += rate.name, rate.limit, rate.period, rate.cost, reserved.drained_at
        return bool(await self._run(organization, arguments) == 1)

    async def renew(self, organization: str, lifetime: int, leases: Iterable[str]) -> None:
        await self._run(organization, ["renew", lifetime, *leases])

    async def _run(self, organization: str, arguments: Sequence[str | int]) -> Any:
        key = limits_key(organization)
        now = "" if self._clock is None else self._clock()
        return await self._script([key, f"{key}:leases"], [now, *arguments])
