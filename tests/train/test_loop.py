"""What a worker tells of its data, without a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from cluster.store.artifacts import Artifacts
from tests.train.doubles import ASSIGNMENT, FolderJournal, FolderPublisher
from train.data import Rows
from train.loop import Training, Work
from train.reporter import Reporter
from train.stop import StopMarker


def test_rows_that_lost_something_are_warned_of_as_openai_s_clients_know_it(tmp_path: Path) -> None:
    journal, url = FolderJournal(tmp_path, ASSIGNMENT), tmp_path.as_uri()
    reporter = Reporter(journal, StopMarker(Artifacts(url), ASSIGNMENT.job_id, 1))
    work = Work(ASSIGNMENT, url, lambda: journal, lambda: FolderPublisher(tmp_path), submitted=0.0)
    training = Training(work, reporter, tmp_path)
    trainer = SimpleNamespace(model=SimpleNamespace(parameters=list))
    training._tell_start(trainer, Rows([], [], 1, 2, sha256=""), None)  # type: ignore[arg-type]
    assert [line["level"] for line in journal.lines("note")] == ["info", "warn", "warn"]
