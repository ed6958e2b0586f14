"""How many requests a router gives to an engine."""

from __future__ import annotations

from dataclasses import replace

from cluster.catalog.replicas import Replica, capacity
from deployments.router.engines.occupancy import PATIENCE, Occupancy

REPLICA = Replica("budgie", "r", "here", 1, "a", "/s", capacity=64)


def told(occupancy: Occupancy, at: float, *, routers: int = 1, **says: int) -> Occupancy:
    occupancy.hear(replace(REPLICA, **says), routers, at)
    return occupancy


def filled(occupancy: Occupancy) -> int:
    """As many as go in."""
    before = occupancy.mine
    while occupancy.free:
        occupancy.take()
    return occupancy.mine - before


def test_an_engine_gets_its_capacity() -> None:
    occupancy = Occupancy(REPLICA, 0.0)
    assert filled(occupancy) == 64
    occupancy.give_back()
    assert filled(occupancy) == 1


def test_of_two_routers_each_gets_what_the_other_has_not() -> None:
    occupancy = told(Occupancy(REPLICA, 0.0), 1.0, routers=2, running=10)
    assert (occupancy.load, filled(occupancy)) == (10, 54)


def test_a_router_that_comes_late_gets_its_share_at_once() -> None:
    late = told(Occupancy(REPLICA, 0.0), 1.0, routers=2, running=64)
    assert filled(late) == 32
    early = Occupancy(REPLICA, 0.0)
    assert filled(early) == 64
    told(early, 1.0, routers=2, running=64, waiting=32)
    for _ in range(32):
        assert not early.free
        early.give_back()
    assert not early.free
    early.give_back()
    assert early.free


def test_ones_own_requests_that_have_just_ended_are_not_taken_for_others() -> None:
    occupancy = Occupancy(REPLICA, 0.0)
    filled(occupancy)
    told(occupancy, 1.0, running=64)
    for _ in range(64):
        occupancy.give_back()
    assert told(occupancy, 1.9, routers=2, running=64).load == 0
    assert told(occupancy, 2.9, routers=2, running=0).load == 0


def test_an_engine_whose_memory_is_full_gets_no_more_than_it_runs() -> None:
    occupancy = Occupancy(REPLICA, 0.0)
    for second in range(PATIENCE):
        assert occupancy.room == 64
        told(occupancy, second + 1.0, running=16, waiting=48)
    assert occupancy.room == capacity(16)
    for second in range(20):
        told(occupancy, second + 10.0, running=16, waiting=0)
    assert occupancy.room == 64, "and more once it has room"


def test_a_burst_that_it_is_about_to_begin_with_changes_nothing() -> None:
    occupancy = Occupancy(REPLICA, 0.0)
    for second in range(20):
        told(occupancy, second + 1.0, running=30, waiting=30 * (second % PATIENCE > 0))
    assert occupancy.room == 64


def test_news_that_come_at_once_are_one_heartbeat() -> None:
    occupancy = Occupancy(REPLICA, 0.0)
    for _ in range(50):
        told(occupancy, 1.5, running=1, waiting=60)
    assert occupancy.room == 64
