"""A lifecycle: an enum of states and the moves between them, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from cluster.errors import Conflict

State = TypeVar("State", bound=StrEnum)


class Lifecycle(Generic[State]):
    """Which state may follow which. A state with no successor is terminal."""

    def __init__(self, name: str, moves: Mapping[State, frozenset[State]]) -> None:
        self.name = name
        self.moves = moves
        for successors in moves.values():
            assert successors <= moves.keys(), f"{name}: a move leads to a state with no row"

    def allows(self, before: State, after: State) -> bool:
        return after in self.moves[before]

    def check(self, before: State, after: State) -> None:
        """Raises Conflict if the move is not in the table."""
        if not self.allows(before, after):
            allowed = ", ".join(sorted(self.moves[before])) or "none: it has ended"
            raise Conflict(
                f"A {self.name} that is {before.value} cannot become {after.value} "
                f"(allowed: {allowed}).",
                code=f"invalid_{self.name}_state",
            )

    def is_terminal(self, state: State) -> bool:
        return not self.moves[state]

    @property
    def terminal(self) -> frozenset[State]:
        return frozenset(state for state, after in self.moves.items() if not after)
