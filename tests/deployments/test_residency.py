"""A replica with fewer places than there are adapters."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.placement import home
from cluster.errors import ModelNotFound, Unavailable
from cluster.store.artifacts import Artifacts
from deployments import adapter_loader
from tests.deployments.replica import Engine, OneReplica, Wanted, known, row

LETTERS = "abcdefgh"


class Shelf:
    """A store with one adapter's folder, and replicas that read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts = Artifacts(folder.as_uri())
        source = folder / "source"
        source.mkdir()
        (source / "weights").write_text("w")
        self.uri = self.artifacts.put_folder("adapters", source).uri

    def replica(
        self, places: int, letters: str = "", *, wait: float = 5.0, name: str = "r1"
    ) -> OneReplica:
        wanted = Wanted()
        wanted.rows = [row(letter, self.uri) for letter in letters]
        return OneReplica(
            self.artifacts, self.folder / "cache", Engine(), wanted,
            places=places, wait=wait, name=name,
        )  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def ask(one: OneReplica, letter: str, during: asyncio.Event | None = None) -> None:
    """A request, which lasts until `during` is set."""
    await one.reconciler.enter(known(letter))
    assert known(letter) in one.engine.loaded
    if during is not None:
        await during.wait()
    assert known(letter) in one.engine.loaded, "it stays for as long as the request runs"
    one.reconciler.leave(known(letter))


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_fits_is_all_there_and_asking_moves_nothing(shelf: Shelf) -> None:
    one = shelf.replica(8, LETTERS)
    await one.reconciler.replay()
    for letter in LETTERS * 3:
        await ask(one, letter)
    assert (len(one.engine.loaded), one.engine.tries) == (8, 8)


async def test_more_than_fit_are_loaded_in_turn(shelf: Shelf) -> None:
    one = shelf.replica(2, LETTERS)
    await one.reconciler.replay()
    for letter in LETTERS:
        await ask(one, letter)
        assert not await one.reconciler.step(), "what was asked for stays"
    assert one.engine.most == 2


async def test_a_stable_demand_that_fits_makes_no_loads(shelf: Shelf) -> None:
    """Six are asked for now and then, two all the time: of three places two are the two's."""
    one = shelf.replica(3, LETTERS)
    await one.reconciler.replay()
    for _ in range(5):
        await ask(one, "a")
        await ask(one, "b")
    loads = one.engine.tries
    for stranger in "cdefgh":
        await ask(one, stranger)
        for letter in "ab" * 3:
            await ask(one, letter)
        await one.reconciler.step()
    assert one.engine.tries - loads <= 6, "each stranger was loaded, and neither of the two again"


async def test_one_load_for_all_who_wait(shelf: Shelf) -> None:
    one = shelf.replica(2, LETTERS)
    await one.reconciler.replay()
    missing = next(c for c in LETTERS if known(c) not in one.engine.loaded)
    loads = one.engine.tries
    one.engine.gate.clear()
    asking = [asyncio.create_task(ask(one, missing)) for _ in range(20)]
    await until(lambda: one.engine.tries == loads + 1)
    one.engine.gate.set()
    await asyncio.gather(*asking)
    assert one.engine.tries == loads + 1
    assert not one.residents.busy(known(missing))


async def test_pinned_ones_never_go(shelf: Shelf) -> None:
    one = shelf.replica(2, LETTERS)
    one.wanted.rows[5].pinned = True
    await one.reconciler.replay()
    for letter in LETTERS * 2:
        await ask(one, letter)
        assert known(LETTERS[5]) in one.engine.loaded
    one.wanted.rows[5].pinned, one.wanted.rows[6].pinned = False, True
    await one.reconciler.step()
    assert known(LETTERS[6]) in one.engine.loaded, "nobody asked for it"
    assert one.engine.most == 2


async def test_where_all_are_in_use_each_has_its_turn(shelf: Shelf) -> None:
    one = shelf.replica(1, "ab")
    await one.reconciler.replay()
    over = asyncio.Event()
    first = asyncio.create_task(ask(one, "a", over))
    await until(lambda: known("a") in one.engine.loaded and one.residents.busy(known("a")))
    other = asyncio.create_task(ask(one, "b"))
    await until(lambda: one.residents.yielding == known("a"))
    assert one.reconciler.loaded == frozenset(), "routers send it nothing more"
    late = asyncio.create_task(ask(one, "a"))
    await asyncio.sleep(0)
    over.set()
    await asyncio.gather(first, other, late)
    assert one.engine.most == 1


async def test_who_can_have_no_place_is_told_so(shelf: Shelf) -> None:
    one = shelf.replica(1, "ab", wait=0.05)
    await one.reconciler.replay()
    over = asyncio.Event()
    running = asyncio.create_task(ask(one, "a", over))
    await until(lambda: known("a") in one.reconciler.loaded and one.residents.busy(known("a")))
    with pytest.raises(Unavailable, match=r"'b' was not loaded within 0\.05 s: all 1 places"):
        await one.reconciler.enter(known("b"))
    await until(lambda: one.reconciler.loaded == {known("a")})
    over.set()
    await running
    await ask(one, "b")


async def test_an_adapter_that_nobody_waits_for_any_more_is_not_loaded(shelf: Shelf) -> None:
    one = shelf.replica(1, "ab")
    await one.reconciler.replay()
    over = asyncio.Event()
    running = asyncio.create_task(ask(one, "a", over))
    await until(lambda: known("a") in one.reconciler.loaded and one.residents.busy(known("a")))
    leaving = asyncio.create_task(ask(one, "b"))
    await until(lambda: one.residents.yielding is not None)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    over.set()
    await running
    await ask(one, "a")
    assert set(one.engine.loaded) == {known("a")}


async def test_who_leaves_while_it_loads_leaves_nothing_in_use(shelf: Shelf) -> None:
    one = shelf.replica(1, "ab")
    await one.reconciler.replay()
    missing = next(c for c in "ab" if known(c) not in one.engine.loaded)
    one.engine.gate.clear()
    asking = asyncio.create_task(ask(one, missing))
    await until(lambda: one.engine.tries == 2)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    one.engine.gate.set()
    await until(lambda: known(missing) in one.engine.loaded)
    assert not one.residents.busy(known(missing))


async def test_an_unknown_name_and_one_published_a_moment_ago(shelf: Shelf) -> None:
    one = shelf.replica(1, "ab")
    await one.reconciler.replay()
    with pytest.raises(ModelNotFound):
        await one.reconciler.enter(known("z"))
    one.wanted.rows.append(row("z", shelf.uri))
    await ask(one, "z")


async def test_a_load_that_fails_is_told_and_not_tried_by_each(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelf.replica(2, "abc")
    await one.reconciler.replay()
    missing = next(c for c in "abc" if known(c) not in one.engine.loaded)
    one.engine.refuse[known(missing)] = 1
    loads = one.engine.tries
    asking = (one.reconciler.enter(known(missing)) for _ in range(5))
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(end) for end in ends} == {
        f"The adapter {missing!r} could not be loaded: out of memory"
    }
    assert one.engine.tries == loads + 1
    monkeypatch.setattr(adapter_loader.time, "monotonic", lambda: 1e12)
    await ask(one, missing)


async def test_what_is_retired_goes_once_its_requests_are_over(shelf: Shelf) -> None:
    one = shelf.replica(4, "ab")
    await one.reconciler.replay()
    over = asyncio.Event()
    running = asyncio.create_task(ask(one, "a", over))
    await until(lambda: one.residents.busy(known("a")))
    del one.wanted.rows[0]
    assert not await one.reconciler.step()
    assert known("a") in one.engine.loaded
    one.reconciler.wake.clear()
    over.set()
    await running
    assert one.reconciler.wake.is_set(), "the next step is due"
    assert await one.reconciler.step()
    assert set(one.engine.loaded) == {known("b")}


async def test_what_is_retired_while_another_loads_is_not_loaded(shelf: Shelf) -> None:
    one = shelf.replica(8)
    await one.reconciler.replay()
    one.wanted.rows = [row(letter, shelf.uri) for letter in "abc"]
    one.engine.gate.clear()
    step = asyncio.create_task(one.reconciler.step())
    await until(lambda: one.engine.tries == 1)
    one.wanted.rows.pop()
    with pytest.raises(ModelNotFound):
        await one.reconciler.enter(known("x"))  # it reads the registry
    one.engine.gate.set()
    assert await step
    assert set(one.engine.loaded) == {known("a"), known("b")}


async def test_what_is_retired_may_go_for_a_request_while_another_goes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelf.replica(3, LETTERS)
    await one.reconciler.replay()
    one.wanted.rows = [row(letter, shelf.uri) for letter in "wxyz"]
    first, going, unload = asyncio.Event(), asyncio.Event(), one.engine.unload

    async def slowly(name: str) -> None:
        if not first.is_set():
            first.set()
            await going.wait()
        await unload(name)

    monkeypatch.setattr(one.engine, "unload", slowly)
    step = asyncio.create_task(one.reconciler.step())
    await first.wait()
    await asyncio.gather(ask(one, "w"), ask(one, "x"))
    going.set()
    assert await step
    assert set(one.engine.loaded) == {known("w"), known("x")}


async def test_a_request_for_what_is_being_unloaded_gets_it_anew(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelf.replica(2, "ab")
    await one.reconciler.replay()
    going, unload = asyncio.Event(), one.engine.unload

    async def slowly(name: str) -> None:
        await going.wait()
        await unload(name)

    monkeypatch.setattr(one.engine, "unload", slowly)
    removing = asyncio.create_task(one.loader.remove(known("a")))
    await asyncio.sleep(0)
    asking = asyncio.create_task(ask(one, "a"))
    await asyncio.sleep(0)
    going.set()
    await asyncio.gather(removing, asking)
    assert known("a") in one.engine.loaded


async def test_a_publication_waits_for_its_home_only(shelf: Shelf) -> None:
    ones = [shelf.replica(2, "abc", name=name) for name in ("r1", "r2")]
    for one, other in zip(ones, reversed(ones), strict=True):
        one.neighbours.replicas = [other.record]
        await one.reconciler.replay()
    for one in ones:
        one.wanted.rows.append(row("new", shelf.uri, state=AdapterState.PUBLISHING))
        await one.reconciler.step()
    at = home(known("new"), [one.record for one in ones])
    holding = [one.record.id for one in ones if known("new") in one.engine.loaded]
    assert holding == [at]


async def test_a_start_takes_what_was_used_last_and_others_lack(shelf: Shelf) -> None:
    one = shelf.replica(3, LETTERS)
    one.uses.told = {known(c): float(n) for n, c in enumerate("fedcb")}
    held = frozenset({known("b")})
    one.neighbours.replicas = [replace(one.record, id="r2", adapters=held)]
    await one.reconciler.replay()
    assert set(one.engine.loaded) == {known("c"), known("d"), known("e")}
    assert one.residents.coldest() == known("e")
    await ask(one, "c")
    await one.reconciler.step()
    assert one.uses.told[known("c")] > 1e9
    assert one.uses.told[known("e")] == 1.0, "to be loaded is no use"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.integers(1, 4),
    pinned=st.integers(0, 1),
    seed=st.integers(0, 10**6),
    letters=st.integers(2, 8),
)
async def test_whatever_is_asked_all_are_answered_within_the_places(
    shelf: Shelf, places: int, pinned: int, seed: int, letters: int
) -> None:
    one = shelf.replica(places, LETTERS[:letters])
    kept = LETTERS[: min(pinned, places - 1)]
    for each in one.wanted.rows:
        each.pinned = each.name in kept
    await one.reconciler.replay()
    chance = random.Random(seed)
    answered: Counter[str] = Counter()

    async def caller() -> None:
        for _ in range(4):
            letter = chance.choice(LETTERS[:letters])
            await one.reconciler.enter(known(letter))
            for _ in range(chance.randrange(4)):
                assert known(letter) in one.engine.loaded
                await asyncio.sleep(0)
            one.reconciler.leave(known(letter))
            answered[letter] += 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(caller() for _ in range(6)))
    assert answered.total() == 24
    assert one.engine.most <= places
    assert {known(letter) for letter in kept} <= set(one.engine.loaded)
    assert set(one.engine.loaded) == one.residents.names
