"""Requests wait for a place in an engine, and get it in their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.errors import Overloaded, TimedOut, Unavailable
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.waiting import slots as slots_module
from deployments.router.waiting.kept import KEEP
from deployments.router.waiting.slots import Need, Place, Slots
from deployments.router.waiting.tier import Tier

REPLICA = Replica("budgie", "r", "here", 1, "a", "/s", capacity=2)
WIDE = replace(REPLICA, id="wide", capacity=4)
SOON = 0.05


class Room:
    """Slots in front of replicas that need no engine."""

    def __init__(self, redis: Redis, most: int = 10) -> None:
        self.pool = ReplicaPool(ReplicaDirectory(redis), redis, lambda _: True, wait=30.0)
        self.ahead = 0.0
        """Seconds by which the clock is ahead of the true one."""
        self.slots = Slots(self.pool, most, lambda: time.monotonic() + self.ahead)
        self.has(REPLICA)

    def has(self, *replicas: Replica) -> None:
        self.pool.hear({"budgie": list(replicas)} if replicas else {})

    def ask(
        self,
        organization: str = "a",
        tier: Tier = Tier.DEFAULT,
        model: str = "budgie",
        seconds: float = 60.0,
        passed: dict[str, float] | None = None,
    ) -> asyncio.Task[Place]:
        return asyncio.create_task(self.take(organization, tier, model, seconds, passed))

    async def take(
        self,
        organization: str = "a",
        tier: Tier = Tier.DEFAULT,
        model: str = "budgie",
        seconds: float = 60.0,
        passed: dict[str, float] | None = None,
    ) -> Place:
        now = time.monotonic() + self.ahead
        need = Need("budgie", model, organization, tier, 100.0, now + seconds)
        return await self.slots.take(need, passed or {}, now + self.pool.wait)

    async def held(self, count: int) -> None:
        await happens(lambda: self.slots.waiting("budgie") == count)


@pytest.fixture
def room(redis: Redis) -> Room:
    return Room(redis)


async def happens(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_who_finds_room_does_not_wait(room: Room) -> None:
    assert (await room.ask()).replica == REPLICA
    assert (await room.ask()).replica == REPLICA
    waiting = room.ask()
    await room.held(1)
    assert not waiting.done()
    waiting.cancel()


async def test_a_place_that_is_left_goes_to_the_next(room: Room) -> None:
    first, second = await room.ask(), await room.ask()
    early, late = room.ask(), room.ask()
    await room.held(2)
    first.leave(50)
    place = await early
    assert not late.done()
    second.leave(50)
    (await late).leave(1)
    place.leave(1)
    assert room.pool._occupancies["r"].mine == 0
    assert room.slots._queues == {}, "nothing is kept where nobody waits"


async def test_an_organization_does_not_wait_for_anothers_flood(room: Room) -> None:
    places = [await room.ask("flood"), await room.ask("flood")]
    flood = [room.ask("flood") for _ in range(6)]
    await room.held(6)
    late = room.ask("b")
    await room.held(7)
    places.pop().leave(100)
    await asyncio.wait({*flood, late}, return_when=asyncio.FIRST_COMPLETED)
    places.pop().leave(100)
    await late
    assert sum(one.done() for one in flood) == 1
    for one in flood:
        one.cancel()


async def test_a_place_is_kept_for_a_moment_for_who_has_just_left_it(room: Room) -> None:
    room.has(WIDE)
    own = await room.ask("b")
    for _ in range(3):
        await room.ask("flood")
    flood = room.ask("flood")
    await room.held(1)
    own.leave(100)
    late = room.ask("flood")
    await room.held(2)
    assert not flood.done()
    own = await room.ask("b")
    own.leave(100)
    room.ahead += KEEP
    room.has(WIDE)
    await asyncio.wait({flood}, timeout=5)
    assert flood.done(), "it is not kept for long"
    late.cancel()


async def test_a_place_is_kept_no_longer_though_nobody_leaves_one(room: Room) -> None:
    room.has(replace(WIDE, capacity=8))
    for _ in range(6):
        await room.ask("flood")
    for place in [await room.ask("b") for _ in range(2)]:
        place.leave(100)
    waiting = [room.ask("flood") for _ in range(2)]
    await room.held(2)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert [one.mine for one in room.pool._occupancies.values() if one.mine] == [8]


async def test_a_flood_does_not_wait_inside_the_engine_before_others(room: Room) -> None:
    room.has(replace(WIDE, capacity=6, look_ahead=2))
    first = [await room.ask("flood") for _ in range(6)]
    for place in first[:3]:
        place.leave(100)
    own = await room.ask("b")
    waiting = room.ask("flood")
    await room.held(1)
    assert not waiting.done(), "four are run at once"
    await room.ask("b")
    first[3].leave(100)
    assert not waiting.done()
    own.leave(100)
    first[4].leave(100)
    async with asyncio.timeout(5):
        await waiting


async def test_no_place_is_kept_from_who_has_less_than_their_share(room: Room) -> None:
    room.has(WIDE)
    own = await room.ask("b")
    for _ in range(3):
        await room.ask("flood")
    own.leave(100)
    async with asyncio.timeout(5):
        await room.ask("a")
    assert room.slots.waiting("budgie") == 0


async def test_who_leaves_while_they_wait_takes_no_place(room: Room) -> None:
    first, _ = await room.ask(), await room.ask()
    gone, stays = room.ask(), room.ask()
    await room.held(2)
    gone.cancel()
    await room.held(1)
    first.leave(1)
    await stays
    assert room.pool._occupancies["r"].mine == 2


async def test_who_leaves_as_their_turn_comes_gives_the_place_back(room: Room) -> None:
    first, _ = await room.ask(), await room.ask()
    gone, stays = room.ask(), room.ask()
    await room.held(2)
    first.leave(1)  # the place is given, and not yet taken
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await stays
    assert room.pool._occupancies["r"].mine == 2


async def test_a_full_queue_sends_the_flood_away(redis: Redis) -> None:
    room = Room(redis, most=3)
    for _ in range(2):
        await room.ask()
    flood = [room.ask("flood") for _ in range(3)]
    await room.held(3)
    refused = room.ask("flood")
    with pytest.raises(Overloaded) as told:
        await refused
    assert told.value.retry_after == slots_module.SOON
    other = room.ask("b")
    with pytest.raises(Overloaded):
        await flood[2]
    assert not other.done()
    for one in (*flood, other):
        one.cancel()


async def test_who_would_wait_too_long_is_told_at_once(room: Room) -> None:
    places = [await room.ask() for _ in range(2)]
    asked = [room.ask() for _ in range(9)]
    await room.held(9)
    for one in asked[:8]:  # one each second
        room.ahead += 1.0
        places.pop(0).leave(100)
        places.append(await one)
    rest = [room.ask() for _ in range(4)]
    await room.held(5)
    hasty = room.ask(seconds=3.0)
    with pytest.raises(Overloaded) as told:
        await hasty
    assert told.value.retry_after == pytest.approx(3.0, abs=0.5)
    patient = room.ask(seconds=8.0)
    await room.held(6)
    for one in (*rest, asked[8], patient):
        one.cancel()


async def test_who_has_waited_too_long_is_told(room: Room) -> None:
    for _ in range(2):
        await room.ask()
    with pytest.raises(TimedOut):
        await room.ask(seconds=SOON)
    await room.held(0)


async def test_a_replica_is_waited_for_and_then_no_more(room: Room) -> None:
    room.has()
    room.pool.wait = SOON
    with pytest.raises(Unavailable, match="No replica of 'budgie' is ready"):
        await room.ask()
    room.pool.wait = 30.0
    waiting = [room.ask() for _ in range(3)]
    await room.held(3)
    room.has(REPLICA)
    await waiting[0]
    await waiting[1]
    assert not waiting[2].done()
    waiting[2].cancel()


async def test_when_the_last_replica_goes_its_queue_waits_for_the_next(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "LOOK", SOON)
    for _ in range(2):
        await room.ask()
    room.pool.wait = SOON
    waiting = room.ask()
    await room.held(1)
    await asyncio.sleep(3 * SOON)
    assert not waiting.done(), "full is not gone"
    room.has()
    with pytest.raises(Unavailable, match="No replica"):
        await waiting


async def test_a_full_replica_of_one_adapter_holds_up_nobody_else(room: Room) -> None:
    holding = replace(REPLICA, adapters=frozenset({"bot@1"}))
    other = replace(REPLICA, id="other")
    room.has(holding, other)
    bots = [await room.ask("a", model="bot@1") for _ in range(2)]
    blocked = room.ask("a", model="bot@1")
    await room.held(1)
    assert (await room.ask("b")).replica == other
    bots[0].leave(1)
    assert (await blocked).replica == holding


async def test_one_that_failed_is_ruled_out_for_a_while(room: Room) -> None:
    other = replace(REPLICA, id="other")
    room.has(REPLICA, other)
    until = time.monotonic() + SOON
    assert [(await room.ask(passed={"r": until})).replica for _ in range(2)] == [other] * 2
    again = room.ask(passed={"r": time.monotonic() + SOON})
    await room.held(1)
    assert (await again).replica == REPLICA, "its time is over"


async def test_a_suspect_is_not_taken_while_others_are_only_full(room: Room) -> None:
    other = replace(REPLICA, id="other")
    room.has(REPLICA, other)
    room.pool.suspect(REPLICA)
    places = [await room.ask() for _ in range(2)]
    assert [place.replica for place in places] == [other] * 2
    waiting = room.ask()
    await room.held(1)
    room.has(REPLICA)
    assert (await waiting).replica == REPLICA, "where it is the only one it is"


async def test_a_suspicion_may_end_at_any_moment(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(REPLICA, id="other")
    room.has(REPLICA, other)
    places = [await room.ask() for _ in range(4)]
    waiting = room.ask()
    await room.held(1)
    room.pool.suspect(REPLICA)
    both = iter([True, True])
    monkeypatch.setattr(room.pool, "_suspect", lambda replica: next(both, replica == other))
    next(place for place in places if place.replica == other).leave(1)
    assert (await waiting).replica == other


async def test_who_can_not_wait_does_not(room: Room) -> None:
    need = Need("budgie", "budgie", "a", Tier.DEFAULT, 1.0, time.monotonic() + 60)
    await room.ask(), await room.ask()
    with pytest.raises(Overloaded):
        await room.slots.take(need, {}, time.monotonic() + 60, waits=False)
    room.has()
    with pytest.raises(Unavailable, match="No replica"):
        await room.slots.take(need, {}, time.monotonic() + 60, waits=False)


async def test_nothing_is_lost_whoever_comes_and_goes(redis: Redis) -> None:
    """Two hundred requests of several tenants, of which a third leave at some moment."""
    room = Room(redis, most=500)
    room.has(*(replace(REPLICA, id=f"r{n}", address=str(Path(f"/s{n}"))) for n in range(3)))
    served = 0

    async def one(number: int) -> None:
        nonlocal served
        place = await room.take(f"org{number % 5}", Tier(number % 3))
        try:
            await asyncio.sleep(0)
            served += 1
        finally:
            place.leave(number)

    tasks = [asyncio.create_task(one(number)) for number in range(200)]
    for number in range(0, 200, 3):
        await asyncio.sleep(0)
        tasks[number].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results if result] == [asyncio.CancelledError] * sum(
        isinstance(result, asyncio.CancelledError) for result in results
    )
    assert served >= 200 - 67
    await happens(lambda: all(o.mine == 0 for o in room.pool._occupancies.values()))
    assert room.slots._queues == {}
