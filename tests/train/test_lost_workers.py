"""What a job is told of workers that are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.store.artifacts import Artifacts
from tests.train.doubles import ASSIGNMENT, FolderJournal
from train.checkpoint import Checkpoints

pytestmark = pytest.mark.slow


def restart(folder: Path, journal: FolderJournal, *, of_workers: bool = True) -> None:
    from ray.train import ControllerError, WorkerGroupError
    from ray.train.v2._internal.execution.controller.state import RestartingState, RunningState

    from train.lost_workers import LostWorkers

    cause = RuntimeError("gone")
    error = WorkerGroupError("gone", {0: cause}) if of_workers else ControllerError(cause)
    callback = LostWorkers(lambda: journal, folder.as_uri(), ASSIGNMENT.job_id)
    callback.after_controller_state_update(RunningState(), RestartingState(error))
    callback.after_controller_state_update(RestartingState(error), RunningState())


@pytest.fixture
def journal(tmp_path: Path) -> FolderJournal:
    return FolderJournal(tmp_path, ASSIGNMENT)


def test_a_loss_is_told_once_with_where_the_training_goes_on(
    tmp_path: Path, journal: FolderJournal
) -> None:
    restart(tmp_path, journal)
    (first,) = journal.lines("note")
    assert first["level"] == "warn"
    assert first["data"] == {"workers": [0]}
    assert first["message"] == "A worker was lost and is replaced; the training begins again."
    (tmp_path / f"jobs/{ASSIGNMENT.job_id}/attempt-1/step000040").mkdir(parents=True)
    Checkpoints(Artifacts(tmp_path.as_uri()), ASSIGNMENT.job_id).seal(1, 40, {})
    restart(tmp_path, journal)
    assert journal.lines("note")[1]["message"].endswith("will go on after step 40 of attempt 1.")


def test_what_is_no_loss_of_a_worker_is_not_told(tmp_path: Path, journal: FolderJournal) -> None:
    restart(tmp_path, journal, of_workers=False)
    assert journal.lines() == []


def test_a_loss_that_can_not_be_told_does_not_end_the_training(
    tmp_path: Path, journal: FolderJournal
) -> None:
    (tmp_path / "superseded").touch()
    restart(tmp_path, journal)
    restart(tmp_path, FolderJournal(tmp_path / "nowhere", ASSIGNMENT))
    assert journal.lines() == []
