"""Which checkpoints count, and which weights are the best."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.store.artifacts import Artifacts
from train.checkpoint import COMPLETE, Checkpoints, run_name, step_name
from train.evaluate import Best

JOB = "ftjob-1"


def stored(root: Path, attempt: int, step: int) -> Path:
    folder = root / "jobs" / JOB / run_name(attempt) / step_name(step)
    folder.mkdir(parents=True)
    (folder / "weights").write_text(f"{step}")
    return folder


@pytest.fixture(params=["file", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "memory":
        return Artifacts(f"memory://{tmp_path}")
    return Artifacts(tmp_path.as_uri())


def put(artifacts: Artifacts, attempt: int, step: int) -> None:
    uri = f"jobs/{JOB}/{run_name(attempt)}/{step_name(step)}"
    artifacts.fs.makedirs(artifacts.path(uri), exist_ok=True)
    artifacts.fs.pipe_file(artifacts.path(f"{uri}/weights"), b"w")


def test_a_checkpoint_counts_once_it_is_sealed(artifacts: Artifacts) -> None:
    checkpoints = Checkpoints(artifacts, JOB)
    assert checkpoints.latest() is None
    put(artifacts, 1, 10)
    assert checkpoints.latest() is None
    sealed = checkpoints.seal(1, 10, {"train_loss": 1.0})
    assert checkpoints.latest() == sealed
    put(artifacts, 1, 20)
    assert checkpoints.latest() == sealed


def test_the_newest_step_of_any_attempt_is_the_latest(artifacts: Artifacts) -> None:
    checkpoints = Checkpoints(artifacts, JOB)
    for attempt, step in ((1, 10), (1, 20), (2, 30)):
        put(artifacts, attempt, step)
        checkpoints.seal(attempt, step, {})
    latest = checkpoints.latest()
    assert latest is not None
    assert (latest.attempt, latest.step) == (2, 30)


def test_older_checkpoints_go(artifacts: Artifacts) -> None:
    checkpoints = Checkpoints(artifacts, JOB)
    for step in (10, 20, 30):
        put(artifacts, 1, step)
        checkpoints.seal(1, step, {})
    assert [kept.step for kept in checkpoints.complete()] == [20, 30]
    assert not artifacts.fs.exists(artifacts.path(f"jobs/{JOB}/attempt-1/step000010"))


def test_a_local_checkpoint_is_used_where_it_lies(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path.as_uri())
    folder = stored(tmp_path, 1, 10)
    checkpoints = Checkpoints(artifacts, JOB)
    kept = checkpoints.seal(1, 10, {"train_loss": 0.5})
    assert checkpoints.fetch(kept, tmp_path / "cache") == folder
    assert (folder / COMPLETE).is_file()


def test_the_best_weights_survive_a_restart(tmp_path: Path) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri())
    best = Best(artifacts, JOB)
    for step, loss, wins in ((10, 2.0, True), (20, 1.0, True), (30, 1.5, False)):
        assert best.improved(step, loss) is wins
        if wins:
            folder = tmp_path / f"weights-{step}"
            folder.mkdir()
            (folder / "adapter").write_text(str(step))
            best.keep(folder)
    again = Best(artifacts, JOB)
    assert again.mark == best.mark
    assert (again.fetch(tmp_path / "cache") / "adapter").read_text() == "20"
    assert not again.improved(30, float("nan"))
    kept = sorted(path.name for path in (tmp_path / "store" / "jobs" / JOB / "best").iterdir())
    assert kept == ["best.json", step_name(20)]
