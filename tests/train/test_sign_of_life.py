"""Who beats while the workers wait for room, and who does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.doubles import ASSIGNMENT, FolderJournal

pytestmark = pytest.mark.slow


@pytest.fixture
def journal(tmp_path: Path) -> FolderJournal:
    return FolderJournal(tmp_path, ASSIGNMENT)


def try_to_start(journal: FolderJournal, error: Exception | None = None) -> None:
    from train.sign_of_life import SignOfLife

    with SignOfLife(lambda: journal).on_worker_group_start():
        if error is not None:
            raise error


def find_no_room(journal: FolderJournal) -> None:
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    with pytest.raises(WorkerGroupStartupTimeoutError):
        try_to_start(journal, WorkerGroupStartupTimeoutError(1))


def test_each_try_that_finds_no_room_is_a_beat(journal: FolderJournal) -> None:
    for tries in (1, 2):
        find_no_room(journal)
        assert len(journal.lines("heartbeat")) == tries


def test_workers_that_start_or_fail_to_are_left_to_speak_for_themselves(
    journal: FolderJournal,
) -> None:
    from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError

    try_to_start(journal)
    with pytest.raises(WorkerGroupStartupFailedError):
        try_to_start(journal, WorkerGroupStartupFailedError("died"))
    assert journal.lines() == []


def test_a_beat_that_fails_does_not_end_the_wait(tmp_path: Path, journal: FolderJournal) -> None:
    (tmp_path / "superseded").touch()
    find_no_room(journal)
    find_no_room(FolderJournal(tmp_path / "nowhere", ASSIGNMENT))
    assert journal.lines() == []
