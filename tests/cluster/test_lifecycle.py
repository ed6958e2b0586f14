"""Lifecycles: the table of moves is the only way."""

from __future__ import annotations

from enum import StrEnum

import pytest

from cluster.errors import Conflict
from cluster.lifecycle import Lifecycle


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    BROKEN = "broken"


MOVES = {
    Light.RED: frozenset({Light.GREEN, Light.BROKEN}),
    Light.GREEN: frozenset({Light.RED, Light.BROKEN}),
    Light.BROKEN: frozenset[Light](),
}
LIGHT = Lifecycle("light", MOVES)


def test_moves_are_those_of_the_table() -> None:
    LIGHT.check(Light.RED, Light.GREEN)
    assert not LIGHT.allows(Light.RED, Light.RED)
    with pytest.raises(Conflict, match=r"red cannot become red.*allowed: broken, green") as raised:
        LIGHT.check(Light.RED, Light.RED)
    assert raised.value.code == "invalid_light_state"


def test_an_end_is_an_end() -> None:
    assert LIGHT.terminal == {Light.BROKEN}
    assert LIGHT.is_terminal(Light.BROKEN)
    with pytest.raises(Conflict, match="it has ended"):
        LIGHT.check(Light.BROKEN, Light.RED)


def test_a_move_to_a_state_without_a_row_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Lifecycle("light", {Light.RED: frozenset({Light.GREEN})})
