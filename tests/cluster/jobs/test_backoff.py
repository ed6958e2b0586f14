from __future__ import annotations

from cluster.jobs.backoff import LONGEST, Backoff


def test_pauses_grow_up_to_the_longest() -> None:
    moment = [0.0]
    backoff = Backoff(first=1.0, clock=lambda: moment[0])
    assert backoff.waiting == set()
    pauses = []
    for _ in range(7):
        began = moment[0]
        assert backoff.failed("a") == began, "since the first failure"
        while "a" in backoff.waiting:
            moment[0] += 0.5
        pauses.append(moment[0] - began)
    assert pauses == [1, 2, 4, 8, LONGEST, LONGEST, LONGEST]
    assert set(backoff.keys) == {"a"}


def test_a_success_forgets_the_failures() -> None:
    moment = [0.0]
    backoff = Backoff(first=1.0, clock=lambda: moment[0])
    backoff.failed("a")
    moment[0] = 100.0
    backoff.forget("a")
    assert backoff.failed("a") == 0.0
    assert backoff.waiting == {"a"}
