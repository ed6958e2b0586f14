"""Rank 0's voice: heartbeats, stop requests, and silence after being superseded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.jobs.journal import Progress
from cluster.jobs.states import JobState
from cluster.store.artifacts import Artifacts
from tests.train.doubles import ASSIGNMENT, FolderJournal
from train import reporter as module
from train.reporter import Reporter
from train.stop import Reason, StopMarker


def figures(step: int) -> Progress:
    return Progress(step, 100, 1.0, 0.5, 1e-3, 100.0, 1.0)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def journal(tmp_path: Path) -> FolderJournal:
    return FolderJournal(tmp_path, ASSIGNMENT)


@pytest.fixture
def marker(tmp_path: Path) -> StopMarker:
    return StopMarker(Artifacts(tmp_path.as_uri()), ASSIGNMENT.job_id, 1)


@pytest.fixture
def reporter(
    journal: FolderJournal, marker: StopMarker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reporter]:
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "PACE", 0.01)
    with Reporter(journal, marker) as opened:
        yield opened
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_it_beats_by_itself(reporter: Reporter, journal: FolderJournal) -> None:
    eventually(lambda: len(journal.lines("heartbeat")) > 3)
    assert reporter.reason is Reason.GO_ON


def test_the_last_step_is_always_told(reporter: Reporter, journal: FolderJournal) -> None:
    for step in range(1, 101):
        reporter.progress(figures(step))
    reporter.flush()
    told = [line["step"] for line in journal.lines("progress")]
    assert told[-1] == 100
    assert told == sorted(told)


def test_steps_are_told_before_what_follows_from_them(
    journal: FolderJournal, marker: StopMarker
) -> None:
    silent = Reporter(journal, marker)  # without its pulse: only the calls below tell
    silent.move(JobState.TRAINING)
    silent.progress(figures(1))
    silent.note("Learned.")
    silent.progress(figures(2))
    silent.move(JobState.SAVING)
    told = [line["kind"] for line in journal.lines()]
    assert told == ["move", "progress", "note", "progress", "move"]


def test_a_flush_waits_for_the_step_that_is_being_told(
    journal: FolderJournal, marker: StopMarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = FolderJournal.progress

    def slow(self: FolderJournal, progress: Progress) -> None:
        begun.set()
        assert go_on.wait(5)
        write(self, progress)

    monkeypatch.setattr(FolderJournal, "progress", slow)
    reporter = Reporter(journal, marker)
    reporter.progress(figures(1))
    telling = threading.Thread(target=reporter.flush)
    moving = threading.Thread(target=reporter.move, args=(JobState.TRAINING,))
    telling.start()
    assert begun.wait(5)
    moving.start()
    moving.join(0.05)
    assert moving.is_alive(), "the move overtook the step"
    go_on.set()
    telling.join(5)
    moving.join(5)
    assert [line["kind"] for line in journal.lines()] == ["progress", "move"]


def test_a_stop_asked_of_the_journal(reporter: Reporter, tmp_path: Path) -> None:
    assert reporter.reason is Reason.GO_ON
    (tmp_path / "stop").touch()
    eventually(lambda: reporter.reason is not Reason.GO_ON)
    assert reporter.reason is Reason.ASKED


def test_a_stop_asked_by_the_driver(reporter: Reporter, marker: StopMarker) -> None:
    assert reporter.reason is Reason.GO_ON
    marker.leave()
    eventually(lambda: reporter.reason is not Reason.GO_ON)
    assert reporter.reason is Reason.ASKED


def test_after_superseded_it_is_silent(
    reporter: Reporter, journal: FolderJournal, tmp_path: Path
) -> None:
    (tmp_path / "superseded").touch()
    reporter.move(JobState.TRAINING)
    assert reporter.reason is Reason.SUPERSEDED
    reporter.note("never told")
    reporter.fail("never", "told")
    assert not journal.lines("move") + journal.lines("note") + journal.lines("fail")
