"""Who waits, who goes next, who is sent away."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployments.router.engines.choice import Kind
from deployments.router.waiting.hold import KEPT, Hold, Ticket
from deployments.router.waiting.tier import SHARE, Tier

BASE: Kind = ("budgie", frozenset())
NUMBERS = itertools.count()


def ticket(
    organization: str = "a", tier: Tier = Tier.DEFAULT, cost: float = 100.0, kind: Kind = BASE
) -> Ticket:
    return Ticket(next(NUMBERS), organization, tier, kind, cost)


def everything(ticket: Ticket) -> bool:
    return True


def filled(hold: Hold, **waiting: int) -> Hold:
    for organization, count in waiting.items():
        for _ in range(count):
            assert hold.put(ticket(organization)) is None
    return hold


def served(hold: Hold, count: int) -> Counter[str]:
    """Whose requests go, where each organization always has one more that waits."""
    went: Counter[str] = Counter()
    for _ in range(count):
        gone = hold.next(everything)
        assert gone is not None
        went[gone.organization] += 1
        hold.put(ticket(gone.organization, gone.tier, gone.cost, gone.kind))
    return went


def test_one_organizations_requests_go_in_the_order_of_their_arrival() -> None:
    hold, tickets = Hold(10), [ticket() for _ in range(5)]
    for one in tickets:
        hold.put(one)
    assert [hold.next(everything) for _ in range(6)] == [*tickets, None]


def test_who_floods_gets_no_more_than_the_others() -> None:
    went = served(filled(Hold(1000), flood=900, b=1, c=1), 300)
    assert went["flood"] == went["b"] == went["c"] == 100


def test_the_newcomer_does_not_wait_for_the_flood() -> None:
    hold = filled(Hold(1000), flood=900)
    served(hold, 50)
    hold.put(ticket("b"))
    assert served(hold, 2)["b"] == 1


def test_shares_are_of_tokens_and_not_of_requests() -> None:
    hold = Hold(100)
    for _ in range(10):
        hold.put(ticket("long", cost=900))
        hold.put(ticket("short", cost=100))
    went = served(hold, 100)
    assert went["short"] == pytest.approx(9 * went["long"], abs=9)


def test_the_truth_replaces_the_estimate() -> None:
    hold = Hold(100)
    for _ in range(5):
        hold.put(ticket("a", cost=1000))
        hold.put(ticket("b", cost=100))
    first = hold.next(everything)
    assert first is not None
    assert first.organization == "a"
    first.correct(50)
    after = hold.next(everything), hold.next(everything)
    assert [one and one.organization for one in after] == ["b", "a"]


def test_nobody_gains_by_coming_and_going() -> None:
    """One who never has more than one request there gets their share, and not every second turn."""
    went = served(filled(Hold(1000), a=100, b=100, c=100, sly=1), 400)
    assert went["sly"] == 100


def test_nobody_saves_up_while_they_do_not_wait() -> None:
    hold = filled(Hold(1000), a=10, b=10)
    served(hold, 500)
    filled(hold, late=100)
    assert served(hold, 30) == {"a": 10, "b": 10, "late": 10}


def test_a_request_for_which_there_is_no_room_holds_up_nobody() -> None:
    hold, other = Hold(10), ("bot@1", frozenset[str]())
    blocked, free = ticket(kind=other), ticket()
    hold.put(blocked)
    hold.put(free)
    assert hold.next(lambda one: one.kind == BASE) is free
    assert hold.next(lambda one: one.kind == BASE) is None
    assert hold.next(everything) is blocked


def test_one_that_comes_back_keeps_its_turn() -> None:
    hold = Hold(10)
    early, late = ticket(), ticket()
    hold.put(late)
    hold.put(early)
    assert hold.next(everything) is early


def test_tiers_have_their_shares_and_none_starves() -> None:
    hold = Hold(1000)
    for tier in Tier:
        for _ in range(5):
            hold.put(ticket("a", tier))
    went: Counter[Tier] = Counter()
    for _ in range(210):
        gone = hold.next(everything)
        assert gone is not None
        went[gone.tier] += 1
        hold.put(ticket("a", gone.tier))
    assert went == {tier: 210 / sum(SHARE.values()) * SHARE[tier] for tier in Tier}


def test_the_flood_is_sent_away_first_and_its_newest_request() -> None:
    hold = filled(Hold(10), flood=7, b=3)
    newest = ticket("flood")
    assert hold.put(newest) is newest
    mine = ticket("b")
    shed = hold.put(mine)
    assert shed is not None
    assert shed.organization == "flood"
    assert hold.waiting == 10
    assert hold.put(ticket("c")) is not None, "a third one has room too"
    assert [hold.next(everything) for _ in range(9)].count(shed) == 0


def test_what_can_wait_is_sent_away_first() -> None:
    hold = filled(Hold(3), a=2)
    flex = ticket("b", Tier.FLEX)
    assert hold.put(flex) is None
    assert hold.put(ticket("a")) is flex
    late = ticket("c", Tier.FLEX)
    assert hold.put(late) is late


def test_who_leaves_is_not_served() -> None:
    hold = Hold(10)
    gone, stays = ticket(), ticket()
    hold.put(gone)
    hold.put(stays)
    hold.leave(gone)
    assert (hold.next(everything), hold.next(everything)) == (stays, None)


def test_how_many_go_before() -> None:
    hold = filled(Hold(1000), flood=500, b=2)
    assert hold.ahead("flood", Tier.DEFAULT) == 502
    assert hold.ahead("b", Tier.DEFAULT) == 2 + 3
    assert hold.ahead("new", Tier.DEFAULT) == 2
    assert hold.ahead("new", Tier.FLEX) == SHARE[Tier.DEFAULT]
    assert hold.ahead("new", Tier.PRIORITY) == SHARE[Tier.DEFAULT] / SHARE[Tier.PRIORITY]


def test_who_has_come_and_gone_is_forgotten() -> None:
    hold = filled(Hold(10), a=1)
    for number in range(3 * KEPT):
        passing = ticket(f"passing{number}")
        hold.put(passing)
        hold.leave(passing)
    sharing = hold._classes[Tier.DEFAULT]._sharing
    assert len(sharing._accounts) <= KEPT + 1


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(1, 5000)), min_size=40, max_size=100),
    st.integers(2, 4),
)
@settings(max_examples=20)
def test_two_who_always_wait_differ_by_no_more_than_the_largest_request(
    costs: list[tuple[str, float]], organizations: int
) -> None:
    hold, names = Hold(10_000), "abcd"[:organizations]
    for name, cost in costs:
        hold.put(ticket(name, cost=cost))
    largest = max(cost for _, cost in costs)
    left = Counter(name for name, _ in costs)
    had: Counter[str] = Counter()
    if not all(left[name] for name in names):
        return
    while all(left[name] for name in names):
        gone = hold.next(everything)
        assert gone is not None
        left[gone.organization] -= 1
        had[gone.organization] += gone.cost  # type: ignore[assignment]
        shares = [had[name] for name in names]
        assert max(shares) - min(shares) <= largest + 1e-6


class Waiting(RuleBasedStateMachine):
    """No request is lost, served twice, or kept beyond the bound."""

    @initialize(most=st.integers(1, 6))
    def start(self, most: int) -> None:
        self.most, self.hold, self.there = most, Hold(most), set[Ticket]()

    @rule(
        organization=st.sampled_from("abc"),
        tier=st.sampled_from(Tier),
        model=st.sampled_from(["x", "y"]),
        cost=st.floats(1, 1000),
    )
    def put(self, organization: str, tier: Tier, model: str, cost: float) -> None:
        new = ticket(organization, tier, cost, (model, frozenset()))
        full = len(self.there) == self.most
        self.there.add(new)
        shed = self.hold.put(new)
        assert (shed is not None) == full
        if shed is not None:
            assert shed.tier == max(one.tier for one in self.there)
            its = [one for one in self.there if one.tier == shed.tier]
            crowd = Counter(one.organization for one in its)
            assert crowd[shed.organization] == max(crowd.values())
            assert shed.number == max(
                one.number for one in its if one.organization == shed.organization
            )
            self.there.remove(shed)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.there, key=lambda one: one.number)))
        self.hold.leave(gone)
        self.there.remove(gone)

    @rule(fits=st.sampled_from(["x", "y", "xy"]), truth=st.floats(0, 1000))
    def next(self, fits: str, truth: float) -> None:
        gone = self.hold.next(lambda one: one.kind[0] in fits)
        able = [one for one in self.there if one.kind[0] in fits]
        assert (gone is None) == (not able)
        if gone is not None:
            before = [
                one
                for one in able
                if (one.organization, one.tier) == (gone.organization, gone.tier)
            ]
            assert gone.number == min(one.number for one in before)
            self.there.remove(gone)
            gone.correct(truth)

    @invariant()
    def counted(self) -> None:
        if hasattr(self, "there"):
            assert self.hold.waiting == len(self.there) <= self.most


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=25, stateful_step_count=25)
