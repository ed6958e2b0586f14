"""An upstream that keeps failing is left alone, and found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Unavailable
from deployments.router.remote import breaker as breaker_module
from deployments.router.remote.breaker import Attempt, Breaker, Breakers, State, Trip

TRIP = Trip(consecutive=3, rate=0.5, window=10.0, enough=10, pause=1.0, longest=8.0, jitter=0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker(clock: Clock, trip: Trip = TRIP) -> Breaker:
    return Breaker(trip, clock, chance=lambda: 1.0)


def asked(breaker: Breaker) -> Attempt:
    attempt = breaker.ask()
    assert attempt is not None
    return attempt


def broken(clock: Clock, trip: Trip = TRIP) -> Breaker:
    made = breaker(clock, trip)
    for _ in range(trip.consecutive):
        asked(made).failed()
    assert made.state is State.OPEN
    return made


def test_failures_in_a_row_open_it(clock: Clock) -> None:
    made = breaker(clock)
    for _ in range(TRIP.consecutive - 1):
        asked(made).failed()
    asked(made).succeeded()
    for _ in range(TRIP.consecutive - 1):
        asked(made).failed()
    assert made.state is State.CLOSED
    asked(made).failed()
    assert (made.state, made.ask(), made.retry_after) == (State.OPEN, None, 1.0)


def test_a_high_rate_of_failures_opens_it(clock: Clock) -> None:
    made = breaker(clock)
    for _ in range(4):
        asked(made).succeeded()
        asked(made).failed()
    asked(made).succeeded()
    assert made.state is State.CLOSED, "too few to tell"
    asked(made).failed()
    assert made.state is State.OPEN


def test_old_failures_do_not_count(clock: Clock) -> None:
    made = breaker(clock)
    for _ in range(4):
        asked(made).failed()
        asked(made).succeeded()
    clock.now += TRIP.window
    asked(made).succeeded()
    asked(made).failed()
    assert made.state is State.CLOSED


def test_one_probe_after_the_pause_closes_it(clock: Clock) -> None:
    made = broken(clock)
    clock.now += 1.0
    probe = asked(made)
    assert (made.state, made.ask()) == (State.HALF_OPEN, None)
    probe.succeeded()
    assert made.state is State.CLOSED
    assert made.ask() is not None


def test_failed_probes_double_the_pause_up_to_a_bound(clock: Clock) -> None:
    made = broken(clock)
    pauses = []
    for _ in range(5):
        clock.now += made.retry_after
        asked(made).failed()
        pauses.append(made.retry_after)
    assert pauses == [2.0, 4.0, 8.0, 8.0, 8.0]
    clock.now += made.retry_after
    asked(made).succeeded()
    for _ in range(TRIP.consecutive):
        asked(made).failed()
    assert made.retry_after == 1.0, "a success ends the doubling"


def test_the_pause_is_longer_at_random(clock: Clock) -> None:
    made = broken(clock, Trip(consecutive=3, pause=1.0, jitter=0.2))
    assert made.retry_after == pytest.approx(1.2)


def test_outcomes_of_what_was_sent_before_do_not_count(clock: Clock) -> None:
    made = breaker(clock)
    early = [asked(made) for _ in range(3)]
    for _ in range(TRIP.consecutive):
        asked(made).failed()
    clock.now += 1.0
    probe = asked(made)
    early[0].succeeded()
    early[1].failed()
    early[2].limited(100.0)
    assert made.state is State.HALF_OPEN
    probe.succeeded()
    assert made.state is State.CLOSED


def test_a_probe_that_was_given_up_leaves_the_turn_to_the_next(clock: Clock) -> None:
    made = broken(clock)
    clock.now += 1.0
    asked(made).unknown()
    second = made.ask()
    assert second is not None
    assert made.ask() is None
    clock.now += TRIP.probe
    assert made.ask() is not None, "one that never tells is given up too"


def test_an_upstream_that_names_its_time_is_left_alone_for_it(clock: Clock) -> None:
    made = breaker(clock)
    asked(made).limited(30.0)
    clock.now += 29.0
    assert (made.ask(), made.retry_after) == (None, 1.0)
    clock.now += 1.0
    asked(made).succeeded()
    assert made.state is State.CLOSED
    asked(made).limited(1e9)
    assert made.retry_after == TRIP.longest_told


def test_a_429_without_a_time_is_a_failure(clock: Clock) -> None:
    made = breaker(clock)
    for _ in range(TRIP.consecutive):
        asked(made).limited(None)
    assert made.state is State.OPEN


def test_each_upstream_has_its_own(clock: Clock) -> None:
    breakers = Breakers(TRIP, clock)
    for _ in range(TRIP.consecutive):
        breakers.ask("conn_1", "big", "acme/big").failed()
    with pytest.raises(Unavailable, match="'acme/big'") as refused:
        breakers.ask("conn_1", "big", "acme/big")
    assert 1.0 <= (refused.value.retry_after or 0) <= 1.2
    breakers.ask("conn_1", "small", "acme/small").succeeded()
    breakers.ask("conn_2", "big", "other/big").succeeded()


def test_upstreams_that_are_gone_do_not_fill_the_memory(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "KEPT", 10)
    breakers = Breakers(TRIP, clock)
    for number in range(15):
        for model in ("a", "b"):
            breakers.ask(f"conn_{number}", model, "m").succeeded()
    kept = breakers._connections
    assert sum(len(models) for models in kept.values()) == breakers._kept == 10
    assert list(kept) == [f"conn_{number}" for number in range(10, 15)]


def test_made_up_names_drop_no_breaker_that_is_used_and_none_of_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "KEPT", 20)
    monkeypatch.setattr(breaker_module, "MODELS", 10)
    breakers = Breakers(TRIP, clock)
    for connection in ("conn_1", "conn_2"):
        for _ in range(TRIP.consecutive):
            breakers.ask(connection, "big", "big").failed()
    for number in range(100):
        breakers.ask("conn_1", f"made-up-{number}", "m").failed()
        with pytest.raises(Unavailable):
            breakers.ask("conn_1", "big", "big")
    with pytest.raises(Unavailable):
        breakers.ask("conn_2", "big", "big")
    assert len(breakers._connections["conn_1"]) == 10


EVENTS = st.sampled_from(["succeeded", "failed", "unknown", "limited", "wait", "late"])


@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=80))
def test_whatever_happens_it_finds_a_healthy_upstream_again(
    events: list[tuple[str, float]],
) -> None:
    clock = Clock()
    made = breaker(clock)
    old: list[Attempt] = []
    for event, number in events:
        if event == "wait":
            clock.now += number
            continue
        if event == "late":
            if old:
                old.pop().failed()
            continue
        state, attempt = made.state, made.ask()
        if attempt is None:
            assert state is not State.CLOSED
            assert made.retry_after > 0
            continue
        if made.state is State.HALF_OPEN:
            assert made.ask() is None, "one probe at a time"
        if number < 5:
            old.append(attempt)
        elif event == "limited":
            attempt.limited(number)
        else:
            getattr(attempt, event)()
    for _ in range(3):
        clock.now += TRIP.longest_told
        attempt = made.ask()
        assert attempt is not None, "it is never open for ever"
        attempt.succeeded()
    assert made.state is State.CLOSED
