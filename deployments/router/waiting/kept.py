"""Places that are kept for a moment for organizations which have just left them.

Who asks again once they are answered leaves a place with each answer. If the flood of another took
it, they would wait for the next one to come free each time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEEP = 0.25
"""Seconds for which a place is kept: about what a caller needs to read an answer and ask again."""
MOST = 4
"""One in so many places at most is kept: meanwhile they serve nobody."""


@dataclass(slots=True)
class Guest:
    """An organization: its requests in the engines, and when it has left the places it may want
    again."""

    now: int = 0
    left: deque[float] = field(default_factory=deque)

    def forget(self, before: float) -> None:
        while self.left and self.left[0] <= before:
            self.left.popleft()


class Kept:
    """Of one model."""

    def __init__(self) -> None:
        self._guests: dict[str, Guest] = {}

    def enter(self, organization: str) -> None:
        guest = self._guests.get(organization)
        if guest is None:
            guest = self._guests[organization] = Guest()
        guest.now += 1
        if guest.left:
            guest.left.popleft()

    def leave(self, organization: str, now: float) -> None:
        guest = self._guests[organization]
        guest.now -= 1
        guest.left.append(now)
        guest.forget(now - KEEP)

    @property
    def alone(self) -> bool:
        """Whether there is nobody for whom to keep a place."""
        return len(self._guests) < 2

    def from_(self, organization: str, places: int, now: float) -> int | None:
        """How many of `places` in all are kept from `organization`, None while it has less than its
        share or is alone. None are kept for those who have theirs."""
        for guest in self._guests.values():
            guest.forget(now - KEEP)
        gone = [name for name, guest in self._guests.items() if not (guest.now or guest.left)]
        for name in gone:
            del self._guests[name]
        own = self._guests.get(organization)
        share = places // max(1, len(self._guests))
        if own is None or own.now < share or len(self._guests) < 2:
            return None
        kept = sum(
            max(0, min(len(guest.left), share - guest.now))
            for guest in self._guests.values()
            if guest is not own
        )
        return min(kept, places // MOST)
