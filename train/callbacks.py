"""What happens between the trainer's steps. The trainer calls, the other modules do."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.checkpoint import Checkpoints, report
from train.evaluate import Best
from train.faults import Unworkable
from train.progress import Pace, epoch_loss
from train.reporter import Reporter
from train.stop import Reason, agreed


@dataclass(frozen=True)
class Schedule:
    """When to look, in steps. `stop_below` ends the training after an epoch of a lower loss,
    `max_steps` ends it anyhow.
    """

    checkpoint_steps: int
    evaluates: bool
    stop_below: float | None
    max_steps: int


class Hooks(TrainerCallback):
    """Progress, early end, evaluation, checkpoints and stop requests.

    Every worker has one, and all decide alike; `reporter` is there on rank 0 alone.
    """

    def __init__(
        self,
        schedule: Schedule,
        pace: Pace,
        best: Best,
        checkpoints: Checkpoints,
        attempt: int,
        reporter: Reporter | None,
        snapshot: Callable[[], Path | None],
    ) -> None:
        self._schedule = schedule
        self._pace = pace
        self._best = best
        self._checkpoints = checkpoints
        self._attempt = attempt
        self._reporter = reporter
        self._snapshot = snapshot
        self.stopped = Reason.GO_ON
        """Why the training ended before its time, GO_ON where it did not."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._pace.start(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        own = self._reporter.reason if self._reporter is not None else Reason.GO_ON
        self.stopped = agreed(own)
        if state.global_step % self._schedule.checkpoint_steps == 0:
            control.should_evaluate = self._schedule.evaluates
            control.should_save = True
        if self.stopped is not Reason.GO_ON:
            control.should_training_stop = True
            control.should_evaluate = False
            control.should_save = self.stopped is Reason.ASKED

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise Unworkable(
                "training_diverged",
                f"The training loss became {logs['loss']} at step {state.global_step}: the "
                "learning rate is too high for this data.",
                param="hyperparameters.learning_rate_multiplier",
            )
        if self._reporter is not None:
            figures = self._pace.step(
                state.global_step,
                state.epoch or 0.0,
                int(logs["num_tokens"]),
                logs["loss"],
                logs["learning_rate"],
            )
            self._reporter.progress(figures)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        limit, epoch = self._schedule.stop_below, round(state.epoch or 0)
        loss = epoch_loss(state.log_history, epoch)
        if limit is not None and loss is not None and loss < limit:
            control.should_training_stop = True
            early = state.global_step < self._schedule.max_steps
            if early and self.stopped is Reason.GO_ON and self._reporter is not None:
                self._reporter.note(
                    f"Learned after {state.global_step} of {self._schedule.max_steps} steps: "
                    "stopping here.",
                    epoch=epoch,
                    train_loss=loss,
                )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        loss = (metrics or {}).get("eval_loss", math.nan)
        if self._best.improved(state.global_step, loss):
            folder = self._snapshot()
            if folder is not None:
                self._best.keep(folder)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        metrics = {
            name: float(entry[key])
            for name, key in (("train_loss", "loss"), ("valid_loss", "eval_loss"))
            for entry in reversed(state.log_history[-4:])
            if key in entry and entry["step"] == step
        }
        folder = Path(str(args.output_dir)) / f"checkpoint-{step}"
        report(folder, step, metrics)
        if self._reporter is not None:
            kept = self._checkpoints.seal(self._attempt, step, metrics)
            self._reporter.checkpoint(step, kept.uri, metrics)
        shutil.rmtree(folder, ignore_errors=True)
