"""The limits of one organization as pure arithmetic: the model that admission.lua repeats.

A rate is a bucket that fills by each request's cost and drains steadily (GCRA seen as a meter): it
admits a burst of `limit` at once and `limit` a period for ever, and knows exactly when a refused
request will fit. Levels count in units of cost times period and times are whole milliseconds, so
every number is an integer below 2**53 and Lua's doubles agree with Python's integers to the last
bit.

A limit that is changed begins anew, with a bucket of its own: what a large one let through would
block a small one for hours.

A reservation drains like the rest: what has drained by the time it is settled has become the past
minute's and is not given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MINUTE = 60_000
DAY = 86_400_000
CONCURRENT = "max_concurrent"
CONCURRENT_WAIT = 1_000
"""When to try again for a slot: nobody knows when another request ends."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` a `period`, of which a request takes `cost`."""

    name: str
    limit: int
    period: int
    cost: int


@dataclass(frozen=True, slots=True)
class Meter:
    """What is left of a rate, and the milliseconds until all of it is back."""

    remaining: int
    reset: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one request. `refused` names the limit that it waits for the longest."""

    now: int
    refused: str | None
    wait: int | None
    """Milliseconds; None with a `refused` means that it never fits."""
    meters: tuple[Meter, ...]
    """One for each rate, in its order."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a lease has taken of a rate, and when that will have drained."""

    rate: Rate
    drained_at: int


class Limiter:
    """Levels and leases. Every method takes the time in milliseconds."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, int], tuple[int, int]] = {}
        self._leases: dict[str, int] = {}

    def admit(
        self, now: int, lease: str, lifetime: int, slots: int | None, rates: Sequence[Rate]
    ) -> Verdict:
        """Take all the rates and, with a `lifetime`, a lease; or nothing.

        `slots` bounds the leases. The same lease again is admitted and costs nothing: a client
        that lost the answer may ask twice.
        """
        self._leases = {name: end for name, end in self._leases.items() if end > now}
        levels = [self._level(now, rate) for rate in rates]
        if lease in self._leases:
            return Verdict(now, None, 0, _meters(rates, levels))
        refused, longest = None, 0.0
        for rate, level in zip(rates, levels, strict=True):
            over = level + rate.cost * rate.period - rate.limit * rate.period
            wait = -(-over // rate.limit) if 0 < rate.limit >= rate.cost else float("inf")
            if over > 0 and wait > longest:
                refused, longest = rate.name, wait
        if slots is not None and len(self._leases) >= slots:
            wait = CONCURRENT_WAIT if slots > 0 else float("inf")
            if wait > longest:
                refused, longest = CONCURRENT, wait
        if refused is not None:
            never = longest == float("inf")
            return Verdict(now, refused, None if never else int(longest), _meters(rates, levels))
        levels = [
            level + rate.cost * rate.period for rate, level in zip(rates, levels, strict=True)
        ]
        for rate, level in zip(rates, levels, strict=True):
            self._levels[rate.name, rate.limit] = (level, now)
        if lifetime > 0:
            self._leases[lease] = now + lifetime
        return Verdict(now, None, 0, _meters(rates, levels))

    def settle(self, now: int, lease: str, reserved: Reservation | None, used: int) -> bool:
        """End a lease and put the truth in the place of its reservation. Once: then it is gone."""
        if self._leases.pop(lease, None) is None:
            return False
        if reserved is not None:
            rate = reserved.rate
            owed = (used - rate.cost) * rate.period
            undrained = max(0, reserved.drained_at - now) * rate.limit
            level = max(0, self._level(now, rate) + max(owed, -undrained))
            self._levels[rate.name, rate.limit] = (level, now)
        return True

    def renew(self, now: int, lifetime: int, leases: Iterable[str]) -> None:
        """Keep leases that still exist."""
        for lease in leases:
            if lease in self._leases:
                self._leases[lease] = now + lifetime

    def _level(self, now: int, rate: Rate) -> int:
        level, at = self._levels.get((rate.name, rate.limit), (0, now))
        return max(0, level - max(0, now - at) * rate.limit)


def _meters(rates: Sequence[Rate], levels: Sequence[int]) -> tuple[Meter, ...]:
    return tuple(
        Meter(
            remaining=max(0, (rate.limit * rate.period - level) // rate.period),
            reset=-(-level // rate.limit) if rate.limit > 0 else 0,
        )
        for rate, level in zip(rates, levels, strict=True)
    )
