"""What a flood does to the times of another tenant: the queue in a simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass

import pytest

from bench.quantile import quantile
from deployments.router.engines.choice import Kind
from deployments.router.waiting.hold import Hold, Ticket
from deployments.router.waiting.kept import Kept
from deployments.router.waiting.tier import Tier

BASE: Kind = ("budgie", frozenset())
SLOTS = 18
SERVICE = 10.0
OWN = 2
"""Requests that the measured tenant has at a time."""


@dataclass(frozen=True)
class Times:
    """p95 of the measured tenant, in the time of one answer."""

    wait: float
    whole: float


def measured(flood: int, tier: Tier = Tier.DEFAULT, *, keeps: bool = True) -> Times:
    """While another has `flood` requests at a time.

    Each caller asks again a moment after they are answered. Answers take as long as each other and
    end in two bursts, as those of a batch do; a wait for the next burst is a long one.
    """
    chance, hold, numbers, kept = random.Random(1), Hold(10_000), itertools.count(), Kept()
    events: list[tuple[float, int, str, Ticket | None]] = []
    asked: dict[int, float] = {}
    times: list[tuple[float, float]] = []
    running = 0

    def come(organization: str, now: float) -> None:
        heapq.heappush(events, (now, next(numbers), organization, None))

    def may(ticket: Ticket) -> bool:
        from_them = kept.from_(ticket.organization, SLOTS, now) if keeps else None
        return from_them is None or SLOTS - running > from_them

    for organization in ["flood"] * flood + ["own"] * OWN:
        come(organization, chance.choice((0.0, 5.0)))
    while len(times) < 400:
        now, number, organization, done = heapq.heappop(events)
        if done is None:
            asks = tier if organization == "flood" else Tier.DEFAULT
            asked[number] = now
            hold.put(Ticket(number, organization, asks, BASE, 100.0))
        else:
            running -= 1
            kept.leave(organization, now)
            done.correct(chance.uniform(50.0, 150.0))
            come(organization, now + 0.02)
        while running < SLOTS and (ticket := hold.next(may)) is not None:
            running += 1
            kept.enter(ticket.organization)
            if ticket.organization == "own":
                wait = now - asked[ticket.number]
                times.append((wait, wait + SERVICE))
            ends = now + SERVICE + chance.uniform(0.0, 0.05)
            heapq.heappush(events, (ends, next(numbers), ticket.organization, ticket))
    return Times(*(quantile(each, 0.95) / SERVICE for each in zip(*times[40:], strict=True)))


@pytest.mark.parametrize("tier", [Tier.DEFAULT, Tier.FLEX, Tier.PRIORITY])
def test_a_flood_does_not_slow_others_down(tier: Tier) -> None:
    share = SLOTS - OWN
    fair = measured(share)
    for times in (10, 100):
        flooded = measured(times * share, tier)
        assert flooded.whole <= 1.1 * fair.whole
        assert flooded.wait <= 0.05, "nor for their first token"


def test_turns_alone_are_not_enough() -> None:
    assert measured(160, keeps=False).whole > 1.5
