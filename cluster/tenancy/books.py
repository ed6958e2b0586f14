"""The budgets' accounts by SQL, which is the truth: what opens them in Redis, and corrects them.

Redis counts what is spent from one request to the next. An account that it does not have (the
first of a day or month, or after its data are lost) is opened with the sum of the usage rows; until
then nothing is admitted by it. Rows come a moment later than the requests that they are about, and
what ran while Redis was away is counted nowhere else: so an account about which there was any doubt
is looked up again some times and corrected upwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster.errors import Unavailable
from cluster.store.outage import Outage
from cluster.store.sql import Database
from cluster.tenancy.limiter import Account, Cost
from cluster.usage.spent import spent

LOOK_AGAIN = (3.0, 15.0, 120.0)
"""Seconds from a doubt to the first look, and from each to the next. Usage is in SQL after one or
two, where nothing is in its way."""
PATIENCE = 2.0
"""Seconds that a request waits for SQL's sum."""
PATIENT = 15.0
"""Those that a correction waits: nobody waits for it, and some sums are long."""
MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Doubt:
    """An account that may have been told too little."""

    organization_id: str
    subject: str
    account: Account
    at: float
    """When to look, by the monotonic clock."""
    later: tuple[float, ...]
    """Seconds from each look to the next."""


class Books:
    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.outage = Outage("the database (budgets)", clock=clock)
        self._database = database
        self._clock = clock
        self._known: dict[tuple[str, str], Cost] = {}
        self._doubts: dict[tuple[str, str], Doubt] = {}
        self._asking: dict[tuple[str, str, float | None], asyncio.Task[Cost]] = {}
        self._late: dict[tuple[str, str], tuple[str, Outage]] = {}
        """Accounts whose sum has taken too long, with their organization. The others' may not."""

    async def spent(
        self, organization_id: str, subject: str, account: Account, patience: float | None = None
    ) -> Cost:
        """By SQL, or by what this process has seen where that is more. Raises Unavailable.

        Those who ask at once share an answer. Without `patience`, a request waits for it.
        """
        name = (subject, account.name, patience)
        task = self._asking.get(name)
        if task is None:
            late = self._late.get((subject, account.name))
            if late is not None and patience is None and not late[1].may_try():
                raise Unavailable("The budget cannot be checked now.")
            if not self.outage.may_try():
                raise Unavailable("The budget cannot be checked now.")
            task = self._asking[name] = asyncio.create_task(
                self._ask(organization_id, subject, account, patience or PATIENCE)
            )
            task.add_done_callback(lambda done: self._answered(name, done))
        return _most(await asyncio.shield(task), self.known(subject, account))

    def late(self) -> set[str]:
        """The organizations of which some account could not be summed in time."""
        return {organization_id for organization_id, _ in self._late.values()}

    def known(self, subject: str, account: Account) -> Cost:
        """What this process has seen last."""
        return self._known.get((subject, account.name), Cost())

    def learn(self, subject: str, account: Account, seen: Cost) -> None:
        """What an account has spent never becomes less."""
        name = (subject, account.name)
        if name not in self._known and len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = _most(seen, self.known(subject, account))

    def doubt(self, organization_id: str, subject: str, account: Account) -> None:
        """Have the account looked up again."""
        first, *later = LOOK_AGAIN
        at = self._clock() + first
        before = self._doubts.get((subject, account.name))
        if before is not None:
            at = min(at, before.at)
        self._put(Doubt(organization_id, subject, account, at, tuple(later)))

    def due(self) -> list[Doubt]:
        """What to look up now. Each comes again until `looked` is called."""
        now = self._clock()
        return [doubt for doubt in self._doubts.values() if doubt.at <= now]

    def looked(self, doubt: Doubt) -> None:
        if self._doubts.get((doubt.subject, doubt.account.name)) is not doubt:
            return  # another doubt has come meanwhile
        if not doubt.later:
            del self._doubts[doubt.subject, doubt.account.name]
            return
        pause, *later = doubt.later
        self._put(replace(doubt, at=self._clock() + pause, later=tuple(later)))

    def _answered(self, name: tuple[str, str, float | None], task: asyncio.Task[Cost]) -> None:
        del self._asking[name]
        if not task.cancelled():
            task.exception()  # those who asked may all have left

    def _put(self, doubt: Doubt) -> None:
        self._doubts[doubt.subject, doubt.account.name] = doubt

    async def _ask(
        self, organization_id: str, subject: str, account: Account, patience: float
    ) -> Cost:
        key = None if subject == organization_id else subject
        window = account.window
        try:
            async with asyncio.timeout(patience):
                found = await spent(self._database, organization_id, key, window.start, window.end)
        except TimeoutError as error:
            self._is_late(organization_id, subject, account, error)
            raise Unavailable("The budget cannot be checked now.") from error
        except Unavailable as error:
            self.outage.failed(error)
            raise Unavailable("The budget cannot be checked now.") from error
        self.outage.succeeded()
        late = self._late.pop((subject, account.name), None)
        if late is not None:
            late[1].succeeded()
        return found

    def _is_late(
        self, organization_id: str, subject: str, account: Account, error: TimeoutError
    ) -> None:
        name = (subject, account.name)
        if name not in self._late and len(self._late) >= MOST_KNOWN:
            del self._late[next(iter(self._late))]
        outage = Outage(f"the sum of budget {account.name}", clock=self._clock)
        self._late.setdefault(name, (organization_id, outage))[1].failed(error)


def _most(one: Cost, other: Cost) -> Cost:
    return Cost(max(one.usd, other.usd), max(one.tokens, other.tokens))
