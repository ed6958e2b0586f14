"""A circuit breaker: an upstream that keeps failing is left alone for a while.

state      event                                   next
closed     failures reach a bound                  open
closed     a 429 with a time to come again         open, until then
open       its time is over, a request asks        half-open: this request is the probe
half-open  another request asks                    half-open: refused
half-open  the probe succeeds                      closed
half-open  the probe fails                         open, twice as long
half-open  the probe was given up                  half-open: the next request is the probe
"""

from __future__ import annotations

import itertools
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cluster.errors import Unavailable

KEPT = 10_000
"""Breakers: those of the connection that was asked least lately go for a newer one."""
MODELS = 100
"""Breakers of one connection, whose callers may name what models they like."""
AGES = itertools.count()

Clock = Callable[[], float]


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Trip:
    """When a breaker opens, and for how long. Times in seconds."""

    consecutive: int = 5
    """Failures in a row."""
    rate: float = 0.5
    """Share of failures among the outcomes of the last `window` seconds, of at least `enough`."""
    window: float = 30.0
    enough: int = 20
    pause: float = 1.0
    """The first time open; doubled for each further one that follows a failed probe."""
    longest: float = 60.0
    jitter: float = 0.2
    """Share of a pause by which it is longer at random: routers do not probe together."""
    longest_told: float = 3600.0
    """The longest pause that an upstream's own word is taken for."""
    probe: float = 60.0
    """A probe that has not told its outcome for so long is given up."""


class Breaker:
    """Of one upstream."""

    def __init__(
        self,
        trip: Trip = Trip(),
        clock: Clock = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._trip = trip
        self._clock = clock
        self._chance = chance
        self._times_open = 0
        self._until = 0.0
        self._move(State.CLOSED)

    def ask(self) -> Attempt | None:
        """Leave to send a request now, None where it is not given. The first one after a pause is
        the probe."""
        now = self._clock()
        if self.state is not State.CLOSED:
            if now < self._until:
                return None
            self._move(State.HALF_OPEN)
            self._until = now + self._trip.probe
        return Attempt(self, self._age)

    @property
    def retry_after(self) -> float:
        """Seconds until a request has a chance; a probe tells soon."""
        left = max(0.0, self._until - self._clock())
        return min(left, self._trip.pause) if self.state is State.HALF_OPEN else left

    def succeeded(self, age: int) -> None:
        if age != self._age:
            return
        if self.state is State.HALF_OPEN:
            self._times_open = 0
            self._move(State.CLOSED)
        self._in_a_row = 0
        self._note(failed=False)

    def failed(self, age: int) -> None:
        if age != self._age:
            return
        self._in_a_row += 1
        self._note(failed=True)
        outcomes, trip = len(self._outcomes), self._trip
        often = outcomes >= trip.enough and self._failures / outcomes >= trip.rate
        if self.state is State.HALF_OPEN or often or self._in_a_row >= trip.consecutive:
            pause = min(trip.longest, trip.pause * 2.0 ** min(self._times_open, 30))
            self._times_open += 1
            self._open(pause * (1 + trip.jitter * self._chance()))

    def limited(self, age: int, retry_after: float) -> None:
        if age == self._age:
            self._open(min(max(retry_after, 0.0), self._trip.longest_told))

    def unknown(self, age: int) -> None:
        if age == self._age and self.state is State.HALF_OPEN:
            self._until = self._clock()

    def _note(self, *, failed: bool) -> None:
        now = self._clock()
        self._outcomes.append((now, failed))
        self._failures += failed
        while self._outcomes[0][0] <= now - self._trip.window:
            _, was_failure = self._outcomes.popleft()
            self._failures -= was_failure

    def _open(self, seconds: float) -> None:
        self._move(State.OPEN)
        self._until = self._clock() + seconds

    def _move(self, state: State) -> None:
        self.state = state
        # What was sent in another state says nothing of this one.
        self._age = next(AGES)
        self._in_a_row = self._failures = 0
        self._outcomes: deque[tuple[float, bool]] = deque()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was let through. Tell its outcome once."""

    _breaker: Breaker
    _age: int

    def succeeded(self) -> None:
        """The upstream answered, be it that the request was wrong."""
        self._breaker.succeeded(self._age)

    def failed(self) -> None:
        """The upstream could not be reached, broke off, or answered that it can't serve."""
        self._breaker.failed(self._age)

    def limited(self, retry_after: float | None) -> None:
        """The upstream answered 429, maybe with the seconds for which it wants no request."""
        if retry_after is None:
            self._breaker.failed(self._age)
        else:
            self._breaker.limited(self._age, retry_after)

    def unknown(self) -> None:
        """The request was not sent, or its caller left before there was an outcome."""
        self._breaker.unknown(self._age)


class Breakers:
    """One breaker for each model of each connection."""

    def __init__(self, trip: Trip = Trip(), clock: Clock = time.monotonic) -> None:
        self._trip = trip
        self._clock = clock
        # Both with what was asked last at their ends.
        self._connections: OrderedDict[str, OrderedDict[str, Breaker]] = OrderedDict()
        self._kept = 0

    def ask(self, connection: str, model: str, name: str) -> Attempt:
        """Leave to send a request. Raises Unavailable where it is not given; `name` is what the
        caller knows the model by."""
        breaker = self._find(connection, model)
        attempt = breaker.ask()
        if attempt is None:
            raise Unavailable(
                f"{name!r} has failed or refused too often; it is tried again in a while.",
                retry_after=breaker.retry_after,
            )
        return attempt

    def _find(self, connection: str, model: str) -> Breaker:
        models = self._connections.setdefault(connection, OrderedDict())
        self._connections.move_to_end(connection)
        if model not in models:
            models[model] = Breaker(self._trip, self._clock)
            self._kept += 1
        models.move_to_end(model)
        if len(models) > MODELS:
            models.popitem(last=False)
            self._kept -= 1
        if self._kept > KEPT:
            _, gone = self._connections.popitem(last=False)
            self._kept -= len(gone)
        return models[model]
