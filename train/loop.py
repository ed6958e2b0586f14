"""What every worker of a training does, from its first line to the published adapter."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.jobs.journal import Assignment, Journal
from cluster.jobs.spec import Method
from cluster.jobs.states import JobState
from cluster.store.artifacts import Artifacts
from train.card import Outcome
from train.checkpoint import Checkpoints, Kept
from train.evaluate import Best
from train.faults import Unworkable
from train.preload import preload
from train.progress import Pace, epoch_loss, trained_tokens
from train.publish import Publisher, hand_over
from train.reporter import Reporter
from train.stop import Reason, StopMarker, agreed

if TYPE_CHECKING:
    from train.callbacks import Hooks
    from train.data import Rows
    from train.trainer import Finetuner


@dataclass(frozen=True)
class Work:
    """What the driver gives each worker. The factories are called on rank 0 alone."""

    assignment: Assignment
    artifacts_url: str
    open_journal: Callable[[], Journal]
    open_publisher: Callable[[], Publisher]
    submitted: float
    """Unix time at which the driver began."""


def on_worker(config: dict[str, Any]) -> None:
    """Ray Train's entry. `config["work"]` is a Work."""
    work: Work = config["work"]
    import ray.train

    with ExitStack() as stack:
        cache = Path(stack.enter_context(scratch()))
        reporter = None
        if ray.train.get_context().get_world_rank() == 0:
            marker = StopMarker(
                Artifacts(work.artifacts_url), work.assignment.job_id, work.assignment.attempt
            )
            reporter = stack.enter_context(Reporter(work.open_journal(), marker))
        try:
            Training(work, reporter, cache).run()
        except Unworkable as fault:
            # Every worker meets the same data and the same loss, so all of them end here.
            if reporter is not None:
                reporter.fail(fault.code, fault.message, param=fault.param)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """This worker's own folder. What a killed worker leaves of it goes with Ray's session."""
    import ray

    context = ray.get_runtime_context()
    session = Path(context.get_temp_dir()) / context.get_session_name()
    return tempfile.TemporaryDirectory(prefix="lorikeet-train-", dir=session)


class Training:
    """One worker's part in one attempt. `reporter` is there on rank 0 alone."""

    def __init__(self, work: Work, reporter: Reporter | None, cache: Path) -> None:
        self.work = work
        self.assignment = work.assignment
        self.plan = work.assignment.plan
        self.reporter = reporter
        self.cache = cache
        self.artifacts = Artifacts(work.artifacts_url)
        self.checkpoints = Checkpoints(self.artifacts, self.assignment.job_id)
        self.best = Best(self.artifacts, self.assignment.job_id)
        self.publisher = work.open_publisher() if reporter is not None else None
        self.marks = {"worker": time.time()}

    def run(self) -> None:
        """Train, evaluate, export, publish; returns early where the job is asked to stop."""
        trainer, hooks, rows = self._prepare()
        resumed = self._resume_from()
        if not self._moved(JobState.TRAINING):
            return
        self._tell_start(trainer, rows, resumed)
        path = self.checkpoints.fetch(resumed, self.cache) if resumed is not None else None
        trainer.train(resume_from_checkpoint=str(path) if path is not None else None)
        if hooks.stopped is not Reason.GO_ON:
            self._tell_stopped(trainer)
            return
        if rows.held_out:
            if not self._moved(JobState.EVALUATING):
                return
            self._evaluate_last(trainer)
        if not self._moved(JobState.SAVING):
            return
        self._save(trainer, rows)

    def _prepare(self) -> tuple[Finetuner, Hooks, Rows]:
        preload(quantised=self.plan.method is Method.QLORA)
        self.marks["imports"] = time.time()
        import deepspeed

        from train import methods
        from train.callbacks import Hooks, Schedule
        from train.data import load
        from train.trainer import arguments, build, on_gpu

        gpu = on_gpu()
        # Before the arguments and the model: DeepSpeed must know the world's size to shard by it.
        deepspeed.init_distributed(
            dist_backend="nccl" if gpu else "gloo", auto_mpi_discovery=False, verbose=False
        )
        tokenizer = methods.load_tokenizer(self.assignment.base_source)
        rows = load(self.artifacts, self.assignment, tokenizer)
        self.marks["data"] = time.time()
        output = self.cache / "output"
        trainer = build(self.assignment, arguments(self.plan, output, gpu=gpu), tokenizer, rows)
        hooks = Hooks(
            Schedule(
                checkpoint_steps=self.plan.checkpoint_steps,
                evaluates=bool(rows.held_out),
                stop_below=self.plan.stop_below_loss,
                max_steps=self.plan.max_steps,
            ),
            Pace(self.plan.max_steps),
            self.best,
            self.checkpoints,
            self.assignment.attempt,
            self.reporter,
            lambda: self._snapshot(trainer),
        )
        trainer.add_callback(hooks)
        self.marks["model"] = time.time()
        return trainer, hooks, rows

    def _resume_from(self) -> Kept | None:
        """The last complete checkpoint of any attempt: rank 0's finding, for all."""
        import torch.distributed as dist

        found = [self.checkpoints.latest() if self.reporter is not None else None]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def _moved(self, state: JobState) -> bool:
        """Move the job; whether all workers should go on."""
        own = Reason.GO_ON
        if self.reporter is not None:
            self.reporter.move(state)
            own = self.reporter.reason
        return agreed(own) is not Reason.SUPERSEDED

    def _tell_start(self, trainer: Finetuner, rows: Rows, resumed: Kept | None) -> None:
        if self.reporter is None:
            return
        seconds, last = {}, self.work.submitted
        for name, at in self.marks.items():
            seconds[name], last = round(at - last, 2), at
        model = trainer.model
        self.reporter.note(
            "Training began."
            if resumed is None
            else f"Training goes on after step {resumed.step} of attempt {resumed.attempt}.",
            rows=len(rows.training),
            held_out_rows=len(rows.held_out),
            trainable_parameters=sum(
                getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad
            ),
            seconds=seconds,
        )
        for count, what in (
            (rows.truncated, f"were cut at {self.plan.max_length} tokens"),
            (rows.without_loss, "were left out: no token of theirs has a loss"),
        ):
            if count:
                self.reporter.note(f"{count} rows {what}.", level="warn", rows=count)

    def _tell_stopped(self, trainer: Finetuner) -> None:
        if self.reporter is not None and self.reporter.reason is Reason.ASKED:
            self.reporter.note(f"Stopped as asked, after step {trainer.state.global_step}.")

    def _evaluate_last(self, trainer: Finetuner) -> None:
        """Measure the last weights too, unless the last step was an evaluation's."""
        history = trainer.state.log_history
        done = any("eval_loss" in e and e["step"] == trainer.state.global_step for e in history)
        if not done:
            trainer.evaluate()  # the hooks keep the weights if they are the best

    def _snapshot(self, trainer: Finetuner) -> Path | None:
        """The present weights in a folder; None on the workers that do not write."""
        from train import export

        state = export.gather(trainer)
        if self.reporter is None:
            return None
        folder = self.cache / f"weights-{trainer.state.global_step}"
        export.write(folder, trainer, state, self.assignment.base_model)
        return folder

    def _save(self, trainer: Finetuner, rows: Rows) -> None:
        """Export the best weights and hand them over."""
        last = trainer.state.global_step
        mark = self.best.mark if rows.held_out else None
        if mark is None or mark.step == last:
            folder = self._snapshot(trainer)
        else:
            folder = self.best.fetch(self.cache) if self.reporter is not None else None
        if folder is None or self.reporter is None or self.publisher is None:
            return
        history = trainer.state.log_history
        first, final = epoch_loss(history, 1), epoch_loss(history, round(trainer.state.epoch or 0))
        if first is not None and final is not None and final > first:
            self.reporter.note(
                f"The training loss rose from {first:.2f} to {final:.2f}: the learning rate is "
                "probably too high for this data.",
                level="warn",
            )
        outcome = Outcome(
            step=mark.step if mark is not None else last,
            last_step=last,
            training_loss=final,
            held_out_loss=mark.loss if mark is not None else None,
            trained_tokens=trained_tokens(history),
            rows=len(rows.training),
            held_out_rows=len(rows.held_out),
            truncated_rows=rows.truncated,
            data_sha256=rows.sha256,
        )
        hand_over(self.assignment, outcome, folder, self.artifacts, self.publisher, self.reporter)
