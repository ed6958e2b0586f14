"""The limits of one organization and its keys as pure arithmetic: the model that admission.lua
repeats.

A rate is a bucket that fills by each request's cost and drains steadily (GCRA seen as a meter): it
admits a burst of `limit` at once and `limit` a period for ever, and knows exactly when a refused
request will fit. Levels count in units of cost times period and times are whole milliseconds, so
every number is an integer below 2**53 and Lua's doubles agree with Python's integers to the last
bit. What an account has spent stays at 2**53 when it gets there: no budget has so much.

A limit that is changed begins anew, with a bucket of its own: what a large one let through would
block a small one for hours.

A reservation drains like the rest: what has drained by the time it is settled has become the past
minute's and is not given back.

A budget's account holds what was spent in one window and what running requests have reserved: a
request is admitted where all three fit. Nothing drains. An account that nobody has opened yet has
spent an unknown amount; `raise_to` opens it, and corrects it upwards. Its reservations end with
the leases of those who made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.tenancy.budget import EVER, Window

MINUTE = 60_000
DAY = 86_400_000
CONCURRENT = "max_concurrent"
CONCURRENT_WAIT = 1_000
"""When to try again for a slot: nobody knows when another request ends. The same holds for what
running requests have reserved of a budget."""
BUDGET_USD, BUDGET_TOKENS = "budget_usd", "budget_tokens"
MOST_SPENT = 2**53


class Cost(NamedTuple):
    """Nano-dollars and tokens."""

    usd: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` a `period`, of which a request takes `cost`."""

    name: str
    limit: int
    period: int
    cost: int
    settles: bool = False
    """Whether the cost is a guess, in whose place the truth comes."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a budget has of one window, of which a request takes at most `cost`."""

    name: str
    usd: int | None
    tokens: int | None
    cost: Cost
    window: Window = EVER


@dataclass(frozen=True, slots=True)
class Subject:
    """One whose limits a request has to keep: its organization, or its key."""

    name: str
    slots: int | None = None
    """Bounds the leases."""
    rates: tuple[Rate, ...] = ()
    account: Account | None = None

    @property
    def is_held(self) -> bool:
        """Whether there is anything to give back at the request's end."""
        return (
            self.slots is not None
            or self.account is not None
            or any(rate.settles for rate in self.rates)
        )


@dataclass(frozen=True, slots=True)
class Meter:
    """What is left of a rate, and the milliseconds until all of it is back."""

    remaining: int
    reset: int


class Balance(NamedTuple):
    """What an account has spent and what of it is reserved. None: it is not open."""

    spent: Cost | None
    held: Cost


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one request. `refused` names the limit that it waits for the longest."""

    now: int
    refused: str | None
    wait: int | None
    """Milliseconds; None with a `refused` means that waiting does not help."""
    meters: tuple[Meter, ...]
    """One for each rate of each subject, in their order."""
    subject: int = 0
    """Whose limit refuses, counted from 0."""
    balances: tuple[Balance, ...] = ()
    """One for each subject with an account."""

    @property
    def unknown(self) -> bool:
        """Whether an account must be opened first. Nothing was taken."""
        return any(balance.spent is None for balance in self.balances)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a lease has taken of a rate, and when that will have drained."""

    rate: Rate
    drained_at: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What a lease has of one subject."""

    subject: str
    reserved: Reservation | None = None
    account: Account | None = None


class Settled(NamedTuple):
    """Whether the lease was still there, and what each account has spent now."""

    found: bool
    spent: tuple[Cost | None, ...] = ()
    """None: that account could not be charged."""


@dataclass(slots=True)
class _Book:
    """An account's state. `held` is by lease: until when, and how much."""

    spent: Cost | None = None
    held: dict[str, tuple[int, Cost]] = field(default_factory=dict)

    def balance(self) -> Balance:
        costs = [cost for _, cost in self.held.values()]
        held = Cost(sum(cost.usd for cost in costs), sum(cost.tokens for cost in costs))
        return Balance(self.spent, held)


def _at_most(spent: Cost) -> Cost:
    return Cost(min(spent.usd, MOST_SPENT), min(spent.tokens, MOST_SPENT))


class Limiter:
    """Levels, leases and accounts. Every method takes the time in milliseconds."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._leases: dict[str, dict[str, int]] = {}
        self._books: dict[tuple[str, str], _Book] = {}

    def admit(self, now: int, lease: str, lifetime: int, subjects: Sequence[Subject]) -> Verdict:
        """Take all of what all subjects limit and, with a `lifetime`, a lease; or nothing.

        The same lease again is admitted and costs nothing: a client that lost the answer may ask
        twice.
        """
        for subject in subjects:
            self._forget_ended(now, subject)
        if any(book.spent is None for book in self._of(subjects)):
            return self._verdict(now, subjects)
        if subjects and lease in self._leases.get(subjects[0].name, ()):
            return self._verdict(now, subjects)
        refused, whose, longest = None, 0, 0.0
        for index, subject in enumerate(subjects):
            for limit, wait in self._waits(now, subject):
                if wait > longest:
                    refused, whose, longest = limit, index, wait
        if refused is not None:
            verdict = self._verdict(now, subjects)
            never = longest == float("inf")
            return Verdict(
                now, refused, None if never else int(longest), verdict.meters, whose,
                verdict.balances,
            )  # fmt: skip
        for subject in subjects:
            self._take(now, lease, lifetime, subject)
        return self._verdict(now, subjects)

    def settle(self, now: int, lease: str, holds: Sequence[Hold], used: Cost) -> Settled:
        """End a lease and put the truth in the place of what it reserved. Once: then it is gone."""
        found = False
        spent: list[Cost | None] = []
        for index, hold in enumerate(holds):
            there = self._leases.get(hold.subject, {}).pop(lease, None) is not None
            found = found or (index == 0 and there)
            if there and hold.reserved is not None:
                self._refund(now, hold.subject, hold.reserved, used.tokens)
            if hold.account is not None:
                book = self._books.get((hold.subject, hold.account.name), _Book())
                if book.held.pop(lease, None) is None or book.spent is None:
                    spent.append(None)
                else:
                    usd, tokens = book.spent
                    book.spent = _at_most(Cost(usd + used.usd, tokens + used.tokens))
                    spent.append(book.spent)
        return Settled(found, tuple(spent))

    def renew(self, now: int, lifetime: int, lease: str, holds: Iterable[Hold]) -> None:
        """Keep a lease that still exists."""
        for hold in holds:
            leases = self._leases.get(hold.subject, {})
            if lease in leases:
                leases[lease] = now + lifetime
            if hold.account is not None:
                book = self._books.get((hold.subject, hold.account.name), _Book())
                if lease in book.held:
                    book.held[lease] = (now + lifetime, book.held[lease][1])

    def raise_to(self, subject: str, account: str, spent: Cost) -> None:
        """Open an account, or correct one that has heard of less."""
        book = self._books.setdefault((subject, account), _Book())
        known = book.spent or Cost()
        highest = Cost(max(known.usd, spent.usd), max(known.tokens, spent.tokens))
        book.spent = _at_most(highest)

    def _forget_ended(self, now: int, subject: Subject) -> None:
        leases = self._leases.get(subject.name, {})
        self._leases[subject.name] = {name: end for name, end in leases.items() if end > now}
        if subject.account is not None:
            book = self._books.setdefault((subject.name, subject.account.name), _Book())
            book.held = {name: kept for name, kept in book.held.items() if kept[0] > now}

    def _waits(self, now: int, subject: Subject) -> Iterator[tuple[str, float]]:
        """What refuses, each with the time to wait for it."""
        for rate in subject.rates:
            level = self._level(now, subject.name, rate)
            over = level + rate.cost * rate.period - rate.limit * rate.period
            if over > 0:
                fits = 0 < rate.limit >= rate.cost
                yield rate.name, -(-over // rate.limit) if fits else float("inf")
        slots = subject.slots
        if slots is not None and len(self._leases[subject.name]) >= slots:
            yield CONCURRENT, CONCURRENT_WAIT if slots > 0 else float("inf")
        account = subject.account
        if account is None:
            return
        spent, held = self._books[subject.name, account.name].balance()
        assert spent is not None, "an account is opened before it is asked"
        for name, limit, cost, gone, reserved in (
            (BUDGET_USD, account.usd, account.cost.usd, spent.usd, held.usd),
            (BUDGET_TOKENS, account.tokens, account.cost.tokens, spent.tokens, held.tokens),
        ):
            # What costs nothing passes where all is spent.
            if limit is not None and cost > 0 and gone + reserved + cost > limit:
                yield name, CONCURRENT_WAIT if gone + cost <= limit else float("inf")

    def _take(self, now: int, lease: str, lifetime: int, subject: Subject) -> None:
        for rate in subject.rates:
            level = self._level(now, subject.name, rate) + rate.cost * rate.period
            self._levels[subject.name, rate.name, rate.limit] = (level, now)
        if lifetime > 0:
            self._leases[subject.name][lease] = now + lifetime
            if subject.account is not None:
                book = self._books[subject.name, subject.account.name]
                book.held[lease] = (now + lifetime, subject.account.cost)

    def _refund(self, now: int, subject: str, reserved: Reservation, used: int) -> None:
        rate = reserved.rate
        owed = (used - rate.cost) * rate.period
        undrained = max(0, reserved.drained_at - now) * rate.limit
        level = max(0, self._level(now, subject, rate) + max(owed, -undrained))
        self._levels[subject, rate.name, rate.limit] = (level, now)

    def _level(self, now: int, subject: str, rate: Rate) -> int:
        level, at = self._levels.get((subject, rate.name, rate.limit), (0, now))
        return max(0, level - max(0, now - at) * rate.limit)

    def _of(self, subjects: Sequence[Subject]) -> list[_Book]:
        return [
            self._books[subject.name, subject.account.name]
            for subject in subjects
            if subject.account is not None
        ]

    def _verdict(self, now: int, subjects: Sequence[Subject]) -> Verdict:
        meters = []
        for subject in subjects:
            for rate in subject.rates:
                level = self._level(now, subject.name, rate)
                remaining = max(0, (rate.limit * rate.period - level) // rate.period)
                reset = -(-level // rate.limit) if rate.limit > 0 else 0
                meters.append(Meter(remaining, reset))
        balances = tuple(book.balance() for book in self._of(subjects))
        return Verdict(now, None, 0, tuple(meters), 0, balances)
