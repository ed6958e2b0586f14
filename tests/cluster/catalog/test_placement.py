"""Who has to hold an adapter is the same for all who ask, and stays as it is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalog.placement import fits, home, owing
from cluster.catalog.replicas import Replica

NAMES = [f"bot{n}@{n}" for n in range(200)]


def replica(name: str, places: int | None = 4) -> Replica:
    return Replica("budgie", name, "here", 1, "a", f"/{name}", places=places)


@settings(max_examples=15)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=6, unique=True), st.randoms())
def test_only_what_was_a_dead_replicas_moves(ids: list[str], random) -> None:  # type: ignore[no-untyped-def]
    alive = [replica(each) for each in ids]
    before = {name: home(name, alive) for name in NAMES}
    random.shuffle(alive)
    assert {name: home(name, alive) for name in NAMES} == before
    gone = alive.pop()
    after = {name: home(name, alive) for name in NAMES}
    assert all(after[n] == before[n] for n in NAMES if before[n] != gone.id)


def test_who_has_more_places_is_home_to_more() -> None:
    counts = Counter(home(name, [replica("a", 10), replica("b", 30)]) for name in NAMES)
    assert 2 * counts["a"] < counts["b"]


def test_nobody_is_home_where_no_replica_takes_adapters() -> None:
    assert home("bot", [replica("a", 0)]) is None
    assert home("bot", []) is None


def test_all_replicas_hold_what_all_have_places_for_and_what_is_pinned() -> None:
    all_ = [replica("a"), replica("b"), replica("c")]

    def so_many(pinned: bool, adapters: int) -> int:
        return len(owing("bot", pinned, adapters, all_))

    assert (so_many(False, 4), so_many(False, 5), so_many(True, 5)) == (3, 1, 3)
    all_.append(replica("d", 100))
    assert {each.id for each in owing("bot", False, 5, all_)} == {"d", home("bot", all_)}
    assert owing("bot", True, 5, []) == []


def test_a_replica_of_an_earlier_version_holds_all() -> None:
    assert fits(replica("a", None), 1000)
