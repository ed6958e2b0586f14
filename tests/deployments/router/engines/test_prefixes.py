"""Conversations and shared beginnings of prompts stay with the replica that saw them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalog.replicas import Replica, Routing
from deployments.router.engines.choice import BATCHED, Choice, Seen
from deployments.router.engines.prefixes import BLOCK, MOST, Prefixes, trail

TEXTS = st.lists(st.text("ab☃", min_size=1, max_size=3 * BLOCK), min_size=1, max_size=4)


def chat(texts: list[str], **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"model": "budgie", "messages": messages, **more}


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_a_later_turn_goes_on_where_the_one_before_ended(begun: list[str], more: list[str]) -> None:
    first, later = trail(chat(begun), "org", "budgie"), trail(chat(begun + more), "org", "budgie")
    assert later[: len(first)] == first
    assert later == trail(chat(begun + more, temperature=1, max_tokens=3), "org", "budgie")


@settings(max_examples=30)
@given(TEXTS)
def test_organizations_and_adapters_have_nothing_in_common(texts: list[str]) -> None:
    document = chat([*texts, "x" * BLOCK])
    own = set(trail(document, "org", "budgie"))
    assert own
    assert own.isdisjoint(trail(document, "other", "budgie"))
    assert own.isdisjoint(trail(document, "org", "bot@1"))


def test_what_differs_early_has_nothing_in_common() -> None:
    long = "x" * 4 * BLOCK
    tools = [{"type": "function", "function": {"name": "f"}}]
    plain = trail(chat([long]), "org")
    assert set(plain).isdisjoint(trail(chat([f"y{long}"]), "org"))
    assert set(plain).isdisjoint(trail(chat([long], tools=tools), "org"))
    assert trail(chat(["short"]), "org") == ()
    assert len(trail({"prompt": "x" * BLOCK * MOST * 2}, "org")) == MOST
    assert len(trail({"prompt": [[1, 2, 3] * BLOCK]}, "org")) > 1


def test_the_longest_match_counts_among_those_that_may_be_asked() -> None:
    prefixes = Prefixes()
    prefixes.add((1, 2), "a")
    prefixes.add((1, 2, 3), "b")
    assert prefixes.find((1, 2, 3, 4), {"a", "b"}) == "b"
    assert prefixes.find((1, 2, 3, 4), {"a"}) == "a"
    assert prefixes.find((1, 9), {"a", "b"}) == "b", "who saw it last"
    assert prefixes.find((8, 9), {"a", "b"}) is None
    assert prefixes.find((1,), set()) is None


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), max_size=40))
def test_it_never_keeps_more_than_it_may(trails: list[list[int]]) -> None:
    prefixes = Prefixes(kept=10)
    for each in trails:
        prefixes.add(tuple(each), "a")
        assert len(prefixes) <= 10
        assert prefixes.find(tuple(each[:1]), {"a"}) == "a", "the last prompt's beginning is there"


def seen(*loads: int) -> list[Seen]:
    return [
        Seen(Replica("budgie", str(n), "here", 1, "a", "/s", routing=Routing.PREFIX), load)
        for n, load in enumerate(loads)
    ]


def test_a_conversation_stays_unless_its_replica_has_much_more_to_do() -> None:
    choice = Choice()
    begun = trail(chat(["x" * 3 * BLOCK]), "org", "budgie")
    assert choice(seen(1, 0), "budgie", begun).id == "1"
    later = trail(chat(["x" * 3 * BLOCK, "y" * BLOCK]), "org", "budgie")
    assert choice(seen(0, BATCHED), "budgie", later).id == "1"
    assert choice(seen(0, BATCHED + 1), "budgie", later).id == "0"
    assert choice(seen(0, 0), "budgie", later).id == "0", "it has seen it now"
    foreign = trail(chat(["x" * 3 * BLOCK]), "other", "budgie")
    assert choice(seen(5, 4), "budgie", foreign).id == "1"
