"""What the hooks decide between two steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from cluster.store.artifacts import Artifacts
from train import callbacks
from train.callbacks import Hooks, Schedule
from train.checkpoint import Checkpoints
from train.evaluate import Best
from train.faults import Unworkable
from train.progress import Pace
from train.stop import Reason

pytestmark = pytest.mark.slow


@dataclass
class Voice:
    """A reporter that only listens."""

    reason: Reason = Reason.GO_ON
    steps: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, message: str, **data: Any) -> None:
        self.notes.append(message)

    def progress(self, progress: Any) -> None:
        self.steps.append(progress.step)


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.setattr(callbacks, "agreed", lambda own: own)
    return Voice()


def hooks(tmp_path: Path, voice: Voice, *, evaluates: bool = False) -> Hooks:
    artifacts = Artifacts(tmp_path.as_uri())
    return Hooks(
        Schedule(checkpoint_steps=5, evaluates=evaluates, stop_below=0.1, max_steps=75),
        Pace(100),
        Best(artifacts, "job"),
        Checkpoints(artifacts, "job"),
        1,
        voice,  # type: ignore[arg-type]
        lambda: None,
    )


def after(step: int, history: list[dict[str, float]] | None = None) -> TrainerState:
    return TrainerState(global_step=step, epoch=step / 2, log_history=history or [])


def test_checkpoints_and_evaluations_fall_on_the_same_steps(tmp_path: Path, voice: Voice) -> None:
    hook = hooks(tmp_path, voice, evaluates=True)
    for step, wanted in ((4, False), (5, True), (6, False)):
        control = TrainerControl()
        hook.on_step_end(None, after(step), control)
        assert (control.should_save, control.should_evaluate) == (wanted, wanted)
        assert not control.should_training_stop


@pytest.mark.parametrize(
    ("reason", "saves"), [(Reason.ASKED, True), (Reason.SUPERSEDED, False)], ids=str
)
def test_a_stop_keeps_a_checkpoint_unless_superseded(
    tmp_path: Path, voice: Voice, reason: Reason, saves: bool
) -> None:
    hook, control = hooks(tmp_path, voice), TrainerControl()
    voice.reason = reason
    hook.on_step_end(None, after(5), control)
    assert control.should_training_stop
    assert control.should_save is saves
    assert hook.stopped is reason


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_job(tmp_path: Path, voice: Voice, loss: float) -> None:
    hook = hooks(tmp_path, voice)
    with pytest.raises(Unworkable, match="step 7") as caught:
        hook.on_log(None, after(7), TrainerControl(), logs={"loss": loss})
    assert caught.value.code == "training_diverged"


def test_steps_are_reported_and_other_logs_are_not(tmp_path: Path, voice: Voice) -> None:
    hook = hooks(tmp_path, voice)
    logs = {"loss": 1.0, "num_tokens": 100.0, "learning_rate": 1e-3}
    hook.on_log(None, after(7), TrainerControl(), logs=logs)
    hook.on_log(None, after(7), TrainerControl(), logs={"eval_loss": 1.0})
    assert voice.steps == [7]


@pytest.mark.parametrize(("second", "stops"), [(0.05, True), (0.2, False)])
def test_an_epoch_that_is_learned_ends_the_training(
    tmp_path: Path, voice: Voice, second: float, stops: bool
) -> None:
    history = [{"epoch": 0.5, "loss": 9.0}, {"epoch": 1.5, "loss": 0.1}]
    history.append({"epoch": 2.0, "loss": second})
    control = TrainerControl()
    hooks(tmp_path, voice).on_epoch_end(None, after(4, history), control)
    assert control.should_training_stop is stops
    assert voice.notes == ["Learned after 4 of 75 steps: stopping here."] * stops


@pytest.mark.parametrize(("step", "reason"), [(75, Reason.GO_ON), (4, Reason.ASKED)])
def test_an_end_that_is_planned_or_asked_for_is_not_called_learned(
    tmp_path: Path, voice: Voice, step: int, reason: Reason
) -> None:
    hook, control = hooks(tmp_path, voice), TrainerControl()
    voice.reason = reason
    state = TrainerState(global_step=step, epoch=2, log_history=[{"epoch": 2.0, "loss": 0.05}])
    hook.on_step_end(None, state, control)
    hook.on_epoch_end(None, state, control)
    assert control.should_training_stop
    assert voice.notes == []
