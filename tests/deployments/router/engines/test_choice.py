"""Which replica a request goes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalog.replicas import Replica
from deployments.router.engines.choice import BATCHED, ON_THE_WAY, Choice, Seen, able

BOT = "bot@0123"


def replica(name: str, *adapters: str, **more: Any) -> Replica:
    made = Replica("budgie", name, "here", 1, "a", f"/{name}", places=2, duration=1.0)
    return replace(made, adapters=frozenset(adapters), **more)


def seen(*replicas: Replica, load: Iterable[int] = ()) -> list[Seen]:
    loads = [*load, *[0] * len(replicas)]
    return [Seen(each, loads[n]) for n, each in enumerate(replicas)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_base_model_goes_to_the_least_loaded() -> None:
    a, b = replica("a"), replica("b")
    assert Choice()(seen(a, b, load=(3, 2)), "budgie") is b


def test_who_can_answer_at_all() -> None:
    holder, other = replica("a", BOT), replica("b")
    assert able(holder, BOT)
    assert able(other, BOT)
    assert able(replace(other, places=None), "budgie")
    assert not able(replace(other, places=None), BOT), "it loads nothing that it is asked for"
    assert not able(replace(other, places=0), BOT)


def test_who_failed_to_load_it_is_asked_where_there_is_no_other() -> None:
    failed = [replica(name, failures={BOT: "no"}) for name in "abcd"]
    other = replica("e")
    assert Choice()(seen(*failed, other, load=(0, 0, 0, 0, 4)), BOT) is other
    assert Choice()(seen(*failed), BOT) in failed, "it says why"


def test_an_adapter_goes_to_its_least_loaded_holder() -> None:
    a, b, c = replica("a", BOT), replica("b", BOT), replica("c")
    assert Choice()(seen(a, b, c, load=(5, 4, 0)), BOT) is b


def test_it_spreads_where_waiting_takes_longer_than_loading() -> None:
    holder = replica("a", BOT, running=4, waiting=4, duration=1.0)
    other = replica("b", loading=0.5)
    assert Choice()(seen(holder, other, load=(8, 0)), BOT) is other, "4 * 1.0 / 4 > 0.5"
    assert Choice()(seen(holder, replace(other, loading=1.5), load=(8, 0)), BOT) is holder
    assert Choice()(seen(holder, other, load=(8, 8)), BOT) is holder, "it would not be better off"
    quick = replace(holder, duration=0.01)
    assert Choice()(seen(quick, other, load=(8, 0)), BOT) is quick


def test_it_spreads_where_one_replica_has_more_than_its_share() -> None:
    holder, other = replica("a", BOT, running=40), replica("b")
    assert Choice()(seen(holder, other, load=(BATCHED, 0)), BOT) is holder
    far = seen(holder, *(replica(name) for name in "bcd"), load=(40,))
    assert Choice()(far, BOT) is not holder


def test_what_follows_an_adapter_goes_where_it_went() -> None:
    clock = Clock()
    choice = Choice(clock)
    three = [replica(name) for name in "abc"]
    first = choice(seen(*three), BOT)
    loads = [3 if each is first else 0 for each in three]
    assert choice(seen(*three, load=loads), BOT) is first
    # Meanwhile its last place went to another: the adapter is still on its way there.
    full = [replace(r, adapters=frozenset("xy")) if r is first else r for r in three]
    assert choice(seen(*full), BOT).id == first.id
    clock.now += ON_THE_WAY
    assert choice(seen(*full), BOT).id != first.id


def test_what_is_on_the_way_is_forgotten_in_time() -> None:
    clock = Clock()
    choice = Choice(clock)
    two = seen(replica("a"), replica("b"))
    for number in range(5000):
        clock.now += 0.01
        choice(two, f"bot{number}@1")
    assert len(choice._sent) <= 1001


@pytest.mark.parametrize("taken", [0, 1])
def test_a_free_place_comes_first(taken: int) -> None:
    both = [replica("a"), replica("b")]
    both[taken] = replica("ab"[taken], "x@1", "y@1")
    for number in range(20):
        assert Choice()(seen(*both), f"bot{number}@1") is both[1 - taken]


def test_all_routers_send_a_new_one_to_the_same_replica_and_many_to_all() -> None:
    three = [replica(name) for name in "abc"]
    names = [f"bot{n}@1" for n in range(60)]
    sent = {name: Choice()(seen(*three), name).id for name in names}
    assert sent == {name: Choice()(seen(*reversed(three)), name).id for name in names}
    assert min(Counter(sent.values()).values()) >= 5


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.booleans(), st.integers(0, 20)),
        min_size=1,
        max_size=5,
    )
)
def test_somebody_busier_is_never_taken_for_nothing(given_: list[tuple[int, bool, int]]) -> None:
    all_ = [
        Seen(replica(str(n), *([BOT] if holds else []), waiting=waiting), load)
        for n, (load, holds, waiting) in enumerate(given_)
    ]
    by_id = {one.replica.id: one for one in all_}
    chosen = by_id[Choice()(all_, BOT).id]
    holders = [one for one in all_ if BOT in one.replica.adapters]
    if holders:
        assert chosen.load <= min(one.load for one in holders)
