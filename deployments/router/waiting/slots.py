"""A place in an engine for each request, at once or after a wait for its turn.

What an engine cannot run yet waits here and not inside it: there it would be first come, first
served, and who floods would be served most.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cluster.catalog.replicas import Replica
from cluster.errors import Overloaded, TimedOut, Unavailable
from deployments.router.engines.choice import Kind, Seen
from deployments.router.engines.prefixes import Trail
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.waiting.hold import Hold, Ticket
from deployments.router.waiting.kept import KEEP, Kept
from deployments.router.waiting.pace import Pace
from deployments.router.waiting.tier import Tier
from deployments.router.waiting.usual import Usual

SOON, LATE = 1.0, 60.0
"""Bounds of the seconds after which who is sent away is told to come again."""
LOOK = 5.0
"""Seconds after which one who waits looks whether there are replicas at all."""
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs, and who it is from."""

    model: str
    engine_model: str
    organization: str
    tier: Tier
    cost: float
    """Tokens that it will take, as far as one knows."""
    until: float
    """How long its caller waits, on the monotonic clock."""
    trail: Trail = ()
    """Its prompt's, where that says which replica is to take it."""


class Place:
    """Of one request in a replica. To be left once."""

    __slots__ = ("_need", "_slots", "_ticket", "replica")

    def __init__(self, slots: Slots, need: Need, replica: Replica, ticket: Ticket | None) -> None:
        self._slots = slots
        self._need = need
        self._ticket = ticket
        self.replica = replica

    def leave(self, cost: float) -> None:
        """The request is over and took `cost` tokens; none where it came to nothing."""
        if self._ticket is not None:
            self._ticket.correct(cost)
        self._slots.leave(self._need, self.replica, cost)


class Waiter(NamedTuple):
    need: Need
    place: asyncio.Future[Place]


class Queue:
    """Who waits for one model."""

    def __init__(self, most: int) -> None:
        self.hold = Hold(most)
        self.pace = Pace()
        self.waiters: dict[Ticket, Waiter] = {}


class Slots:
    """At most `most` requests wait for each model in this router."""

    def __init__(
        self, pool: ReplicaPool, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._most = most
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._numbers = itertools.count()
        self._usual = Usual()
        self._kept: dict[str, Kept] = {}
        self._lapses: dict[str, asyncio.TimerHandle] = {}
        """By model, for those that were told that what is free is kept from them."""
        pool.on_news = self._look_again

    async def take(
        self, need: Need, passed: Mapping[str, float], deadline: float, *, waits: bool = True
    ) -> Place:
        """A place in a replica that holds what `need` needs; `waits` for it where there is none.

        `passed` has those that failed this very request, each with the time until which it is not
        tried again. While there is no replica at all one is waited for until `deadline`. Both are
        on the monotonic clock. Raises Unavailable when none comes, Overloaded when the turn would
        come too late, TimedOut when it did.
        """
        absent_until: float | None = deadline
        ticket: Ticket | None = None
        try:
            while True:
                now = self._clock()
                ruled_out = NOBODY
                if passed:
                    ruled_out = frozenset(r for r, until in passed.items() if until > now)
                kind = need.engine_model, ruled_out
                if (ticket is None or ticket.kind != kind) and self._may(need, kind):
                    replica = self._pool.find(need.model, kind, need.trail)
                    if replica is not None:
                        return self._place(need, replica, None)
                held = self._pool.holds(need.model, kind)
                if held:
                    absent_until = None
                    wake = now + LOOK
                else:
                    if absent_until is None:
                        absent_until = now + self._pool.wait
                    wake = absent_until
                    if now >= wake or not waits:
                        raise Unavailable(
                            f"No replica of {need.model!r} is ready.", retry_after=5.0
                        )
                if not waits:
                    raise _overloaded(need.model, None)
                if ticket is None or ticket.kind != kind:
                    ticket = self._enter(need, kind, ticket, held=held)
                wake = min([wake, need.until, *(passed[replica] for replica in ruled_out)])
                place = self._queues[need.model].waiters[ticket].place
                await asyncio.wait([place], timeout=max(0.0, wake - now))
                if place.done():
                    return place.result()
                if self._clock() >= need.until:
                    raise TimedOut(f"{need.model!r} had no room for the request in time.")
        except asyncio.CancelledError:
            if ticket is not None:
                self._decline(need.model, ticket)
            raise
        finally:
            if ticket is not None:
                self._withdraw(need.model, ticket)

    def leave(self, need: Need, replica: Replica, cost: float) -> None:
        """There is room for one more in `replica`."""
        if cost:
            self._usual.note(need.organization, cost)
        self._pool.give_back(replica)
        self._kept[need.model].leave(need.organization, self._clock())
        queue = self._queues.get(need.model)
        if queue is not None:
            self._grant(need.model, queue)

    def waiting(self, model: str) -> int:
        queue = self._queues.get(model)
        return 0 if queue is None else queue.hold.waiting

    def _enter(self, need: Need, kind: Kind, before: Ticket | None, *, held: bool) -> Ticket:
        """Let it wait, in the turn that `before` had. Raises Overloaded where it would wait in
        vain."""
        now = self._clock()
        queue = self._queues.get(need.model)
        if queue is None:
            queue = self._queues[need.model] = Queue(self._most)
        if not queue.hold.waiting:
            queue.pace.begin(now)
        turn = queue.pace.seconds(queue.hold.ahead(need.organization, need.tier) + 1, now)
        if before is not None:
            self._withdraw(need.model, before)
        elif held and turn is not None and turn > need.until - now:
            raise _overloaded(need.model, turn - (need.until - now))
        number = next(self._numbers) if before is None else before.number
        cost = self._usual.cost(need.organization, need.cost)
        ticket = Ticket(number, need.organization, need.tier, kind, cost)
        queue.waiters[ticket] = Waiter(need, asyncio.get_running_loop().create_future())
        self._queues[need.model] = queue
        shed = queue.hold.put(ticket)
        if shed is not None:
            queue.waiters[shed].place.set_exception(_overloaded(need.model, turn))
        return ticket

    def _decline(self, model: str, ticket: Ticket) -> None:
        """Its caller has left, maybe just as it was given a place."""
        place = self._queues[model].waiters[ticket].place
        if place.done() and place.exception() is None:
            place.result().leave(0.0)

    def _withdraw(self, model: str, ticket: Ticket) -> None:
        queue = self._queues[model]
        place = queue.waiters.pop(ticket).place
        if not place.done():
            queue.hold.leave(ticket)
        else:
            place.exception()  # looked at, or asyncio would complain that nobody has
        if not queue.waiters:
            del self._queues[model]

    def _grant(self, model: str, queue: Queue) -> None:
        """Give what is free to those whose turn it is."""
        free: dict[Kind, list[Seen]] = {}

        def fits(ticket: Ticket) -> bool:
            kind = ticket.kind
            if kind not in free or free[kind]:  # who is full stays so
                free[kind] = self._pool.free(model, kind)
            return bool(free[kind]) and self._may(queue.waiters[ticket].need, kind)

        while (ticket := queue.hold.next(fits)) is not None:
            need, place = queue.waiters[ticket]
            # Of those that it fits: a second look may see a suspicion ended, and none of them free.
            replica = self._pool.choose(free[ticket.kind], ticket.kind, need.trail)
            queue.pace.turn(self._clock())
            place.set_result(self._place(need, replica, ticket))

    def _may(self, need: Need, kind: Kind) -> bool:
        """Whether the organization may have what is free. Who has more than their share leaves
        others what is kept for them, and does not wait inside the engine, where those would be
        behind them."""
        kept = self._kept.get(need.model)
        if kept is None or kept.alone:
            return True
        places, free = self._pool.places(need.model, kind)
        from_them = kept.from_(need.organization, places, self._clock())
        if from_them is None or free > from_them:
            return True
        if need.model not in self._lapses:  # nobody tells when what is kept is free for all
            loop = asyncio.get_running_loop()
            self._lapses[need.model] = loop.call_later(KEEP, self._lapse, need.model)
        return False

    def _lapse(self, model: str) -> None:
        del self._lapses[model]
        queue = self._queues.get(model)
        if queue is not None:
            self._grant(model, queue)

    def _place(self, need: Need, replica: Replica, ticket: Ticket | None) -> Place:
        self._pool.take(replica)
        kept = self._kept.get(need.model)
        if kept is None:
            kept = self._kept[need.model] = Kept()
        kept.enter(need.organization)
        return Place(self, need, replica, ticket)

    def _look_again(self) -> None:
        for model, queue in self._queues.items():
            self._grant(model, queue)


def _overloaded(model: str, seconds: float | None) -> Overloaded:
    return Overloaded(
        f"More requests wait for {model!r} than it can answer in time.",
        retry_after=min(LATE, max(SOON, seconds or 0.0)),
    )
