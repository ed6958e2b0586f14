"""Who stays and who goes, as requests come and end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.catalog.residents import HALF_LIFE, Residents


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def use(residents: Residents, name: str, times: int = 1) -> None:
    for _ in range(times):
        assert residents.enter(name)
        residents.leave(name)


def test_the_least_used_goes_first_and_old_uses_count_less(clock: Clock) -> None:
    residents = Residents(3, clock)
    for name in "abc":
        residents.add(name, name)
    use(residents, "a", 8)
    use(residents, "b", 2)
    assert residents.coldest() == "c"
    clock.now += 4 * HALF_LIFE
    use(residents, "c")
    assert residents.coldest() == "b"
    use(residents, "b")
    use(residents, "b")
    assert residents.coldest() == "a", "eight uses of long ago are half of one"


def test_neither_those_in_use_nor_those_kept_go(clock: Clock) -> None:
    residents = Residents(2, clock)
    residents.add("a", "a")
    residents.add("b", "b")
    residents.kept = {"a"}
    assert residents.enter("b")
    assert residents.coldest() is None
    residents.ask()
    assert residents.yielding == "b"
    assert not residents.enter("b"), "it takes no new request"
    assert residents.serving == {"a"}
    residents.leave("b")
    assert residents.coldest() == "b"
    residents.remove("b")
    assert (residents.names, residents.yielding) == ({"a"}, None)


def test_the_times_of_the_last_uses(clock: Clock) -> None:
    residents = Residents(2, clock)
    residents.add("a", "a")
    residents.add("b", "b")
    use(residents, "a")
    assert residents.used(0) == {"a": clock.now}, "to be loaded is no use"
    assert residents.used(clock.now + 1) == {}


def test_years_of_uses_do_not_overflow(clock: Clock) -> None:
    residents = Residents(2, clock)
    for name in "ab":
        residents.add(name, name)
    for _ in range(100):
        clock.now += 30 * 86400.0
        use(residents, "a", 3)
    assert residents.coldest() == "b"


class Life(RuleBasedStateMachine):
    """Any order of events leaves it with no more than its places."""

    def __init__(self) -> None:
        super().__init__()
        self.residents = Residents(3, Clock())
        self.open: list[str] = []

    @rule(name=st.sampled_from("abcdef"), kept=st.sets(st.sampled_from("ab")))
    def ask_for(self, name: str, kept: set[str]) -> None:
        """What the loader does with one request, as far as it can without waiting."""
        self.residents.kept = kept
        if self.residents.enter(name):
            self.open.append(name)
            return
        if name in self.residents:
            return
        if self.residents.full:
            victim = self.residents.coldest()
            if victim is None:
                self.residents.ask()
                return
            assert victim not in kept
            assert victim not in self.open
            self.residents.remove(victim)
        self.residents.yielding = None
        self.residents.add(name, name)
        assert self.residents.enter(name)
        self.open.append(name)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.open))
        self.open.remove(name)
        self.residents.leave(name)

    @invariant()
    def bounded(self) -> None:
        assert len(self.residents.names) <= 3
        assert set(self.open) <= self.residents.names
        for name in self.residents.names:
            assert self.residents.busy(name) is (name in self.open)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


@settings(max_examples=10)
@given(st.permutations("abcdef"))
def test_a_stable_demand_that_fits_moves_nothing(order: list[str]) -> None:
    residents = Residents(6, Clock())
    for name in order:
        residents.add(name, name)
    for _ in range(3):
        for name in order:
            assert residents.enter(name)
            residents.leave(name)
    assert residents.names == set("abcdef")
