"""How long one waits for a turn."""

from __future__ import annotations

import pytest

from deployments.router.waiting.pace import FEW, WINDOW, Pace
from deployments.router.waiting.usual import KEPT, Usual


def test_the_pace_is_that_of_the_turns_since_somebody_waits() -> None:
    pace = Pace()
    pace.begin(100.0)
    for turn in range(FEW):
        assert pace.seconds(10, 101.0) is None, "too few to tell"
        pace.turn(100.0 + turn * 0.5)
    assert pace.seconds(10, 104.0) == pytest.approx(5.0)
    assert pace.seconds(10, 108.0) == pytest.approx(10.0), "a standstill is seen"
    pace.begin(200.0)
    assert pace.seconds(10, 200.0) is None


def test_only_the_latest_turns_count() -> None:
    pace = Pace()
    pace.begin(0.0)
    for turn in range(WINDOW):
        pace.turn(turn * 10.0)
    slow = WINDOW * 10.0
    for turn in range(2 * WINDOW):
        pace.turn(slow + turn * 0.1)
    assert pace.seconds(10, slow + 2 * WINDOW * 0.1) == pytest.approx(1.0, rel=0.05)


def test_a_request_costs_what_those_before_it_did() -> None:
    usual = Usual()
    assert usual.cost("a", 4096) == 4096
    usual.note("a", 50)
    assert usual.cost("a", 4096) == 50
    assert usual.cost("a", 20) == 20, "never more than it may take"
    assert usual.cost("b", 0) == 1.0
    for _ in range(100):
        usual.note("a", 1000)
    assert usual.cost("a", 4096) == pytest.approx(1000, rel=0.01)
    for number in range(KEPT + 5):
        usual.note(f"org{number}", 1)
    assert len(usual._costs) == KEPT
