"""Who gets which of an alias's targets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalog.alias import Alias
from cluster.catalog.caller import Caller, Sticky
from cluster.catalog.split import Target

CALLERS = [Caller(f"req_{number}", "key") for number in range(4000)]


def alias(*weights: float, sticky: Sticky = Sticky.NONE) -> Alias:
    targets = tuple(Target(f"m{index}", weight) for index, weight in enumerate(weights))
    return Alias("alias-1", "bot", 1, targets, sticky, 0)


def everything(of: Alias) -> set[str]:
    return {target.model for target in of.targets}


WEIGHTS = st.lists(st.floats(0, 100), min_size=1, max_size=5).filter(any)


@given(weights=WEIGHTS, caller=st.text())
def test_one_of_the_weighted_is_picked_and_always_the_same(
    weights: list[float], caller: str
) -> None:
    one = alias(*weights)
    asking = Caller(caller, "key")
    picked = one.pick(asking, everything(one))
    assert picked == one.pick(asking, everything(one))
    assert picked in {target.model for target in one.targets if target.weight > 0}


@pytest.mark.parametrize("weights", [(90, 10), (1, 1), (1, 2, 7), (1, 0)])
def test_the_shares_are_the_weights(weights: tuple[float, ...]) -> None:
    one = alias(*weights)
    counts = Counter(one.pick(caller, everything(one)) for caller in CALLERS)
    for index, weight in enumerate(weights):
        assert counts[f"m{index}"] / len(CALLERS) == pytest.approx(weight / sum(weights), abs=0.025)


@given(before=st.floats(0.01, 10), more=st.floats(1, 10), caller=st.text())
def test_a_growing_canary_keeps_those_whom_it_has(before: float, more: float, caller: str) -> None:
    asking = Caller(caller, "key")
    small, large = alias(10, 5, before), alias(10, 5, before * more)
    known = everything(small)
    picked = small.pick(asking, known)
    assert large.pick(asking, known) in (picked, "m2")


def test_what_is_gone_leaves_its_share_to_the_others() -> None:
    one = alias(1, 1)
    assert {one.pick(caller, {"m1"}) for caller in CALLERS} == {"m1"}
    assert one.pick(CALLERS[0], set()) is None


@pytest.mark.parametrize(
    ("sticky", "together"),
    [(Sticky.KEY, [True, True, True]), (Sticky.USER, [True, False, True])],
)
def test_what_is_kept_together(sticky: Sticky, together: list[bool]) -> None:
    many = alias(*[1.0] * 5, sticky=sticky)
    known = everything(many)

    def targets(callers: list[Caller]) -> set[str | None]:
        return {many.pick(caller, known) for caller in callers}

    requests = range(50)
    assert [
        len(targets([Caller(f"r{n}", "k", "ann") for n in requests])) == 1,
        len(targets([Caller(f"r{n}", "k", f"user{n}") for n in requests])) == 1,
        len(targets([Caller(f"r{n}", "k") for n in requests])) == 1,
    ] == together
    other_keys = targets([Caller("r", f"k{n}", "ann") for n in requests])
    assert len(other_keys) > 1, "another tenant's ann is another"
