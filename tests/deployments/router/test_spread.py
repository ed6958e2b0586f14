"""Routers and replicas together, without anybody who schedules: adapters settle and stay."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.catalog.replicas import Replica
from deployments.router.engines.choice import Choice, Seen
from tests.deployments.replica import OneReplica, known
from tests.deployments.test_residency import LETTERS, Shelf


class Cluster:
    """Replicas with three places each and two routers, whose views are as fresh as can be."""

    def __init__(self, shelf: Shelf, count: int) -> None:
        self.shelf = shelf
        self.ones = [shelf.replica(3, LETTERS, name=f"r{n}") for n in range(count)]
        self.clock = 0.0
        self.routers = [Choice(lambda: self.clock) for _ in range(2)]
        self.random = random.Random(5)

    def view(self) -> list[Replica]:
        return [replace(one.record, adapters=one.reconciler.loaded) for one in self.ones]

    @property
    def loads(self) -> int:
        return sum(one.engine.tries for one in self.ones)

    async def ask(self, letter: str, load: dict[str, int] | None = None) -> OneReplica:
        self.clock += 0.1
        seen = [Seen(each, (load or {}).get(each.id, 0)) for each in self.view()]
        chosen = self.random.choice(self.routers)(seen, known(letter))
        one = next(each for each in self.ones if each.record.id == chosen.id)
        await one.reconciler.enter(known(letter))
        one.reconciler.leave(known(letter))
        return one

    def holders(self, letter: str) -> int:
        return sum(known(letter) in one.engine.loaded for one in self.ones)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def test_what_fits_into_all_of_them_is_loaded_once_and_stays(shelf: Shelf) -> None:
    cluster = Cluster(shelf, 3)
    for one in cluster.ones:
        await one.reconciler.step()
    order = [*LETTERS]
    for _ in range(10):
        cluster.random.shuffle(order)
        for letter in order:
            await cluster.ask(letter)
        for one in cluster.ones:
            await one.reconciler.step()
    assert cluster.loads == len(LETTERS)


async def test_what_died_with_a_replica_comes_back_on_the_others(shelf: Shelf) -> None:
    cluster = Cluster(shelf, 4)
    for letter in LETTERS:
        await cluster.ask(letter)
    gone = cluster.ones.pop()
    lost = len(gone.engine.loaded)
    before = cluster.loads
    for letter in LETTERS * 5:
        await cluster.ask(letter)
    assert cluster.loads - before <= lost + 1, "what the others held stays there"


async def test_an_adapter_in_demand_is_on_several_and_the_rest_stay(shelf: Shelf) -> None:
    cluster = Cluster(shelf, 3)
    for letter in "abcdef":
        await cluster.ask(letter)
    assert cluster.holders("a") == 1
    for _ in range(50):  # each holder has far more to do than those who lack it
        load = {one.record.id: 40 if known("a") in one.engine.loaded else 0 for one in cluster.ones}
        one = await cluster.ask("a", load)
        one.record = replace(one.record, running=36, waiting=4, duration=1.0)
    assert cluster.holders("a") == 3
    assert all(cluster.holders(letter) == 1 for letter in "bcdef")
    assert all(one.engine.most <= 3 for one in cluster.ones)
