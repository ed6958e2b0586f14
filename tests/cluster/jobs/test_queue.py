from __future__ import annotations

from datetime import UTC, datetime

from cluster.jobs.queue import Waiting, fairest

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def test_whose_turn_it_is() -> None:
    assert fairest([]) is None
    busy = Waiting("busy", EARLY, running=1)
    served = Waiting("served", EARLY, last_started=LATE)
    fresh = Waiting("fresh", LATE)
    older = Waiting("older", EARLY)
    assert fairest([busy, served]) == served
    assert fairest([served, fresh]) == fresh
    assert fairest([fresh, older]) == older
