"""What a flood does to the times of another tenant: the queue in a simulated time."""

from __future__ import annotations

import heapq
import itertools
import random

from bench.quantile import quantile
from deployments.router.hold import Hold, Kind, Ticket
from deployments.router.tier import Tier

BASE: Kind = ("budgie", frozenset())
SLOTS = 18
OWN = 2
"""Requests that the measured tenant has at a time."""


def p95(flood: int, tier: Tier = Tier.DEFAULT, seed: int = 1) -> float:
    """Of the measured tenant's answers, in service times, while another has `flood` at a time.

    Each caller asks again once they are answered. An answer takes 0.6 to 1.4.
    """
    chance, hold, numbers = random.Random(seed), Hold(10_000), itertools.count()
    running: list[tuple[float, int, Ticket]] = []
    asked: dict[int, float] = {}
    taken: list[float] = []

    def ask(organization: str, now: float) -> None:
        asks = tier if organization == "flood" else Tier.DEFAULT
        ticket = Ticket(next(numbers), organization, asks, BASE, 100.0)
        asked[ticket.number] = now
        hold.put(ticket)

    def fill(now: float) -> None:
        while len(running) < SLOTS and (ticket := hold.next(lambda kind: True)) is not None:
            ends = now + chance.uniform(0.6, 1.4)
            heapq.heappush(running, (ends, ticket.number, ticket))

    for organization in ["flood"] * flood + ["own"] * OWN:
        ask(organization, 0.0)
    fill(0.0)
    while len(taken) < 400:
        now, number, ticket = heapq.heappop(running)
        ticket.correct(chance.uniform(50.0, 150.0))
        if ticket.organization == "own":
            taken.append(now - asked[number])
        ask(ticket.organization, now)
        fill(now)
    return quantile(taken[40:], 0.95)


def test_a_flood_does_not_slow_others_down() -> None:
    share = SLOTS - OWN
    fair = p95(share)
    assert p95(10 * share) <= 1.2 * fair
    assert p95(100 * share) <= 1.2 * fair
    assert p95(10 * share, Tier.FLEX) <= 1.2 * fair
