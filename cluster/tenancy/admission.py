"""Whether a request may run now, by its organization's limits."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.errors import RateLimited, Unavailable
from cluster.settings import RedisFault
from cluster.store.outage import Outage
from cluster.tenancy.limiter import (
    CONCURRENT,
    DAY,
    MINUTE,
    Limiter,
    Rate,
    Reservation,
    Verdict,
)
from cluster.tenancy.principal import Limits, Principal
from cluster.tenancy.shared_limiter import SharedLimiter

log = logging.getLogger(__name__)

RPM, RPD, TPM = "requests_per_minute", "requests_per_day", "tokens_per_minute"
UNSETTLED_MOST = 10_000
"""Settlements kept for when Redis is back."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit, what is left of it, and the seconds until all of it is back."""

    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The leave to run one request. Settle it, whatever comes of the request."""

    id: str
    organization_id: str
    requests: Quota | None = None
    """The tighter of the minute's and the day's; None where neither is limited."""
    tokens: Quota | None = None
    reserved: Reservation | None = None
    held: bool = False
    """Whether there is anything to settle."""
    local: bool = False
    """Whether this process gave it by its own estimate."""


UNLIMITED = Lease(id="", organization_id="")
"""The lease of every request that nothing limits."""


class LimitReached(RateLimited):
    """A limit refuses. `limit` names it; the quotas are for the answer's headers.

    `retry_after` is exact for the rates, and None where the request asks for more than the whole
    limit.
    """

    def __init__(
        self,
        message: str,
        limit: str,
        requests: Quota | None,
        tokens: Quota | None,
        retry_after: float | None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, details={"limit": limit})
        self.limit = limit
        self.requests = requests
        self.tokens = tokens


class Admission:
    """Gives leases. Start `run` beside it: it keeps the leases of requests that take long."""

    def __init__(
        self,
        redis: Redis,
        fault: RedisFault = RedisFault.LOCAL,
        *,
        timeout: float = 1.0,
        lease_seconds: float = 60.0,
    ) -> None:
        self._shared = SharedLimiter(redis, timeout=timeout)
        self._fault = fault
        self._lifetime = int(lease_seconds * 1000)
        """Short, and renewed: those of a killed router are soon free."""
        self._outage = Outage("Redis (limits)")
        self._local: dict[str, Limiter] = defaultdict(Limiter)
        self._held: dict[str, Lease] = {}
        self._unsettled: dict[str, tuple[Lease, int]] = {}

    async def admit(self, principal: Principal, request_id: str, tokens: int) -> Lease:
        """A lease that reserves `tokens`; or LimitReached, or Unavailable.

        The lease's id holds random bits of its own: a caller who may choose the request id could
        else run many requests as one.
        """
        limits = principal.limits
        if limits.none:
            return UNLIMITED
        rates = _rates(limits, tokens)
        organization = principal.organization_id
        held = limits.tokens_per_minute is not None or limits.max_concurrent is not None
        lifetime = self._lifetime if held else 0
        lease_id = f"{request_id[:64]}/{secrets.token_hex(8)}"
        verdict, local = None, False
        if self._outage.may_try():
            try:
                verdict = await self._shared.admit(
                    organization, lease_id, lifetime, limits.max_concurrent, rates
                )
                self._outage.succeeded()
            except (RedisError, OSError) as error:
                self._outage.failed(error)
        if verdict is None:
            if self._fault is RedisFault.REFUSE:
                raise Unavailable("Limits cannot be checked now.", retry_after=2.0)
            local = True
            verdict = self._local[organization].admit(
                _now(), lease_id, lifetime, limits.max_concurrent, rates
            )
        requests, tokens_left = _quotas(rates, verdict)
        if verdict.refused is not None:
            raise _refusal(verdict, limits, tokens, requests, tokens_left)
        reserved = None
        if tokens_left is not None:
            reserved = Reservation(rates[-1], verdict.now + verdict.meters[-1].reset)
        lease = Lease(lease_id, organization, requests, tokens_left, reserved, held, local)
        if held:
            self._held[lease_id] = lease
        return lease

    async def settle(self, lease: Lease, tokens_used: int) -> None:
        """Replace the reservation by the truth and free the slot. Again does nothing."""
        if not lease.held or self._held.pop(lease.id, None) is None:
            return
        if lease.local:
            limiter = self._local[lease.organization_id]
            limiter.settle(_now(), lease.id, lease.reserved, tokens_used)
        elif not await self._settle(lease, tokens_used) and len(self._unsettled) < UNSETTLED_MOST:
            self._unsettled[lease.id] = (lease, tokens_used)

    async def run(self) -> None:
        """Renew leases and settle what an outage left, until cancelled."""
        while True:
            for _ in range(max(1, self._lifetime // 3000)):
                await asyncio.sleep(min(1.0, self._lifetime / 3000))
                for lease, tokens_used in list(self._unsettled.values()):
                    if not await self._settle(lease, tokens_used):
                        break
                    del self._unsettled[lease.id]
                if self._outage.since is None:
                    self._local.clear()  # Redis counts again; the next outage starts afresh
            await self.renew()

    async def renew(self) -> None:
        by_organization: dict[str, list[str]] = defaultdict(list)
        for lease in self._held.values():
            if lease.local:
                self._local[lease.organization_id].renew(_now(), self._lifetime, [lease.id])
            else:
                by_organization[lease.organization_id].append(lease.id)
        for organization, leases in by_organization.items():
            if not self._outage.may_try():
                return
            try:
                await self._shared.renew(organization, self._lifetime, leases)
                self._outage.succeeded()
            except (RedisError, OSError) as error:
                self._outage.failed(error)

    async def _settle(self, lease: Lease, tokens_used: int) -> bool:
        """Whether Redis has heard of it."""
        if not self._outage.may_try():
            return False
        try:
            await self._shared.settle(lease.organization_id, lease.id, lease.reserved, tokens_used)
        except (RedisError, OSError) as error:
            self._outage.failed(error)
            return False
        self._outage.succeeded()
        return True


def _now() -> int:
    return int(time.monotonic() * 1000)


def _rates(limits: Limits, tokens: int) -> list[Rate]:
    """What is limited; the tokens last."""
    rates = []
    if limits.requests_per_minute is not None:
        rates.append(Rate(RPM, limits.requests_per_minute, MINUTE, 1))
    if limits.requests_per_day is not None:
        rates.append(Rate(RPD, limits.requests_per_day, DAY, 1))
    if limits.tokens_per_minute is not None:
        rates.append(Rate(TPM, limits.tokens_per_minute, MINUTE, tokens))
    return rates


def _quotas(rates: list[Rate], verdict: Verdict) -> tuple[Quota | None, Quota | None]:
    requests = tokens = None
    for rate, meter in zip(rates, verdict.meters, strict=True):
        quota = Quota(rate.limit, meter.remaining, meter.reset / 1000)
        if rate.name == TPM:
            tokens = quota
        elif requests is None or quota.remaining < requests.remaining:
            requests = quota
    return requests, tokens


def _refusal(
    verdict: Verdict, limits: Limits, cost: int, requests: Quota | None, tokens: Quota | None
) -> LimitReached:
    assert verdict.refused is not None
    limit: int = getattr(limits, verdict.refused)
    what = {
        RPM: f"{limit} requests per minute",
        RPD: f"{limit} requests per day",
        TPM: f"{limit} tokens per minute",
        CONCURRENT: f"{limit} requests at the same time",
    }[verdict.refused]
    if verdict.wait is not None:
        wait = verdict.wait / 1000
        message = f"The limit of {what} is reached. Try again in {wait:g} s."
        return LimitReached(message, verdict.refused, requests, tokens, wait)
    message = f"The limit is {what}."
    if verdict.refused == TPM:
        message = f"This request asks for {cost} tokens with its max_tokens; the limit is {what}."
    return LimitReached(message, verdict.refused, requests, tokens, None)
