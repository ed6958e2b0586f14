"""Whether a request may run now, by the limits and budgets of its organization and its key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.errors import LorikeetError, Unavailable
from cluster.settings import RedisFault
from cluster.store.outage import Outage
from cluster.store.redis import is_outage
from cluster.store.schema import now
from cluster.store.sql import Database
from cluster.tenancy.books import PATIENT, Books
from cluster.tenancy.lease import UNLIMITED, Lease, holds, quotas, refusal
from cluster.tenancy.limiter import Account, Cost, Hold, Limiter, Settled, Subject, Verdict
from cluster.tenancy.principal import Principal
from cluster.tenancy.shared_limiter import SharedLimiter
from cluster.tenancy.subjects import COSTLIEST, subjects_of

log = logging.getLogger(__name__)

UNSETTLED_MOST = 10_000
"""Settlements kept for when Redis is back."""


class Admission:
    """Gives leases. Start `run` beside it: it keeps the leases of requests that take long."""

    def __init__(
        self,
        redis: Redis,
        database: Database,
        fault: RedisFault = RedisFault.LOCAL,
        *,
        timeout: float = 1.0,
        lease_seconds: float = 60.0,
    ) -> None:
        self._shared = SharedLimiter(redis, timeout=timeout)
        self._books = Books(database)
        self._fault = fault
        self._lifetime = int(lease_seconds * 1000)
        """Short, and renewed: those of a killed router are soon free."""
        self._outage = Outage("Redis (limits)")
        self._local: dict[str, Limiter] = defaultdict(Limiter)
        self._held: dict[str, Lease] = {}
        self._unsettled: dict[str, tuple[Lease, Cost]] = {}
        self._unheard: set[asyncio.Task[None]] = set()
        """They give back what was granted to those who had left."""

    async def admit(
        self,
        principal: Principal,
        request_id: str,
        tokens: int,
        usd: int = 0,
        at: datetime | None = None,
    ) -> Lease:
        """A lease that reserves `tokens` and nano-dollars; or LimitReached, or Unavailable.

        `at` is when the request started: it says which day or month pays for it. The lease's id
        holds random bits of its own: a caller who may choose the request id could else run many
        requests as one.
        """
        if principal.unlimited:
            return UNLIMITED
        # Whoever leaves meanwhile, Redis may have granted it.
        asked = asyncio.create_task(
            self._admit(principal, request_id, Cost(usd, tokens), at or now())
        )
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            task = asyncio.create_task(self._give_back(asked))
            self._unheard.add(task)
            task.add_done_callback(self._unheard.discard)
            raise

    async def settle(self, lease: Lease, tokens: int, usd: int = 0) -> None:
        """Replace the reservation by the truth and free the slot. Again does nothing."""
        if not lease.held or self._held.pop(lease.id, None) is None:
            return
        used = Cost(min(usd, COSTLIEST), min(tokens, COSTLIEST))
        if lease.local:
            limiter = self._local[lease.organization_id]
            self._charged(lease, limiter.settle(_now(), lease.id, lease.holds, used))
        elif not await self._settle(lease, used):
            if len(self._unsettled) < UNSETTLED_MOST:
                self._unsettled[lease.id] = (lease, used)
            else:
                self._doubt(lease)

    async def run(self) -> None:
        """Renew leases, settle what an outage left and correct accounts, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            group.create_task(self._correct())

    async def renew(self) -> None:
        by_organization: dict[str, dict[str, tuple[Hold, ...]]] = defaultdict(dict)
        for lease in self._held.values():
            if lease.local:
                local = self._local[lease.organization_id]
                local.renew(_now(), self._lifetime, lease.id, lease.holds)
            else:
                by_organization[lease.organization_id][lease.id] = lease.holds
        for organization, leases in by_organization.items():
            if not self._outage.may_try():
                return
            try:
                await self._shared.renew(organization, self._lifetime, leases)
                self._outage.succeeded()
            except (RedisError, OSError) as error:
                self._failed(error, f"leases of {organization} not renewed")

    async def _give_back(self, asked: asyncio.Task[Lease]) -> None:
        with contextlib.suppress(LorikeetError):  # nothing was granted
            await self.settle(await asked, 0)

    async def _admit(
        self, principal: Principal, request_id: str, cost: Cost, at: datetime
    ) -> Lease:
        subjects = subjects_of(principal, cost, at)
        organization = principal.organization_id
        lease_id = f"{request_id[:64]}/{secrets.token_hex(8)}"
        held = any(subject.is_held for subject in subjects)
        lifetime = self._lifetime if held else 0
        verdict, local = await self._ask(organization, lease_id, lifetime, subjects), False
        if verdict is None:
            if self._fault is RedisFault.REFUSE:
                raise Unavailable("Limits cannot be checked now.", retry_after=2.0)
            verdict, local = await self._guess(organization, lease_id, lifetime, subjects), True
        if verdict.balances:
            for subject, account, spent in _accounts(subjects, verdict):
                if spent is not None:
                    self._books.learn(subject.name, account, spent)
        if verdict.refused is not None:
            raise refusal(principal, subjects, verdict, cost, now())
        requests, left = quotas(subjects, verdict)
        taken = holds(subjects, verdict) if held else ()
        lease = Lease(lease_id, organization, requests, left, taken, held, local)
        if held:
            self._held[lease_id] = lease
        return lease

    async def _ask(
        self, organization: str, lease: str, lifetime: int, subjects: Sequence[Subject]
    ) -> Verdict | None:
        """Redis' verdict; None where it cannot be had.

        Raises ResponseError where Redis fails at this request alone.
        """
        if not self._outage.may_try():
            return None
        try:
            verdict = await self._shared.admit(organization, lease, lifetime, subjects)
            self._outage.succeeded()
            if verdict.unknown:
                await self._open(organization, subjects, verdict)
                verdict = await self._shared.admit(organization, lease, lifetime, subjects)
        except (RedisError, OSError) as error:
            if not is_outage(error):
                raise
            self._outage.failed(error)
            return None
        except Unavailable:  # the database, which has told so itself
            return None
        return None if verdict.unknown else verdict

    async def _open(self, organization: str, subjects: Sequence[Subject], verdict: Verdict) -> None:
        """Bring to Redis the accounts that it lacks."""
        for subject, account, known in _accounts(subjects, verdict):
            if known is None:
                spent = await self._books.spent(organization, subject.name, account)
                await self._shared.raise_to(organization, subject.name, account, spent)
                self._books.doubt(organization, subject.name, account)

    async def _guess(
        self, organization: str, lease: str, lifetime: int, subjects: Sequence[Subject]
    ) -> Verdict:
        """This process's own verdict. Without SQL, a budget goes on from what was seen last."""
        limiter = self._local[organization]
        verdict = limiter.admit(_now(), lease, lifetime, subjects)
        if not verdict.unknown:
            return verdict
        for subject, account, known in _accounts(subjects, verdict):
            if known is None:
                try:
                    spent = await self._books.spent(organization, subject.name, account)
                except Unavailable:
                    spent = self._books.known(subject.name, account)
                limiter.raise_to(subject.name, account.name, spent)
        return limiter.admit(_now(), lease, lifetime, subjects)

    async def _settle(self, lease: Lease, used: Cost) -> bool:
        """Whether Redis has heard of it, if only to fail at it: again would be the same."""
        if not self._outage.may_try():
            return False
        try:
            settled = await self._shared.settle(lease.organization_id, lease.id, lease.holds, used)
        except (RedisError, OSError) as error:
            self._failed(error, f"lease {lease.id} not settled")
            if is_outage(error):
                return False
            self._doubt(lease)
            return True
        self._outage.succeeded()
        self._charged(lease, settled)
        return True

    def _failed(self, error: RedisError | OSError, what: str) -> None:
        if is_outage(error):
            self._outage.failed(error)
        else:
            log.error("Redis refused, %s: %s", what, error)

    def _doubt(self, lease: Lease) -> None:
        """Only the row in SQL will tell what this request has used."""
        for hold in lease.holds:
            if hold.account is not None:
                self._books.doubt(lease.organization_id, hold.subject, hold.account)

    def _charged(self, lease: Lease, settled: Settled) -> None:
        """Learn what the accounts have spent now; doubt those that Redis has not charged."""
        having = [(hold.subject, hold.account) for hold in lease.holds if hold.account is not None]
        for (subject, account), spent in zip(having, settled.spent, strict=True):
            if spent is not None:
                self._books.learn(subject, account, spent)
            if spent is None or lease.local:
                self._books.doubt(lease.organization_id, subject, account)

    async def _keep(self) -> None:
        while True:
            for _ in range(max(1, self._lifetime // 3000)):
                await asyncio.sleep(min(1.0, self._lifetime / 3000))
                for lease, used in list(self._unsettled.values()):
                    if not await self._settle(lease, used):
                        break
                    del self._unsettled[lease.id]
                if self._outage.since is None and self._books.outage.since is None:
                    # Redis counts again; the next outage starts afresh
                    for organization in self._local.keys() - self._books.late():
                        del self._local[organization]
            await self.renew()

    async def _correct(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self.correct()

    async def correct(self) -> None:
        """Raise the accounts that are in doubt to what SQL says, where it is time to look."""
        for doubt in self._books.due():
            if self._outage.since is not None:
                return
            organization, subject, account = doubt.organization_id, doubt.subject, doubt.account
            try:
                spent = await self._books.spent(organization, subject, account, PATIENT)
                await self._shared.raise_to(organization, subject, account, spent)
            except Unavailable:
                continue  # another's may be had
            except (RedisError, OSError) as error:
                self._failed(error, f"account {account.name} not corrected")
                if is_outage(error):
                    return
            except Exception:  # a task that ends here would take `run` with it
                log.exception("account %s not corrected", account.name)
            self._books.looked(doubt)


def _now() -> int:
    return int(time.monotonic() * 1000)


def _accounts(
    subjects: Sequence[Subject], verdict: Verdict
) -> list[tuple[Subject, Account, Cost | None]]:
    """The subjects with an account, and what that has spent."""
    having = [(subject, subject.account) for subject in subjects if subject.account is not None]
    return [
        (subject, account, balance.spent)
        for (subject, account), balance in zip(having, verdict.balances, strict=True)
    ]
