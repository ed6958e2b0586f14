"""A journal and a catalogue in a folder, for trainings without SQL; usable from any process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.jobs.journal import Assignment, Level, Progress, Superseded
from cluster.jobs.spec import Method, TrainingPlan
from cluster.jobs.states import JOB_LIFECYCLE, JobState
from train.budgie import WEIGHTS

PLAN = TrainingPlan(
    method=Method.LORA,
    epochs=75,
    max_steps=150,
    global_batch=10,
    learning_rate=2.5e-3,
    rank=32,
    alpha=64,
    dropout=0.0,
    target_modules="all-linear",
    max_length=256,
    warmup_steps=10,
    zero_stage=2,
    num_workers=1,
    cpus_per_worker=0.5,
    gpus_per_worker=0,
    checkpoint_steps=20,
    held_out_rows=0,
    stop_below_loss=0.03,
    seed=42,
)

ASSIGNMENT = Assignment(
    job_id="ftjob-0123456789abcdef",
    attempt=1,
    organization_id="org-1",
    organization_slug="acme",
    project_id="proj-1",
    base_model="budgie",
    base_source=str(WEIGHTS),
    base_limits={"max_rank": 64},
    plan=PLAN,
    suffix="facts",
    training_uri="files/facts.jsonl",
    validation_uri=None,
)


def assignment(**changes: Any) -> Assignment:
    """ASSIGNMENT with other fields, or with other numbers in its plan."""
    fields = {k: changes.pop(k) for k in list(changes) if hasattr(ASSIGNMENT, k)}
    return replace(ASSIGNMENT, plan=PLAN.model_copy(update=changes), **fields)


@dataclass(frozen=True)
class FolderJournal:
    """Each call is a line of `journal.jsonl`; files named `stop` and `superseded` are requests.

    `kill_at` ends its own process (rank 0) by SIGKILL at that step, once; `stop_at` asks for a
    stop at that step.
    """

    folder: Path
    job: Assignment
    kill_at: int | None = None
    stop_at: int | None = None

    def assignment(self) -> Assignment:
        return self.job

    def move(self, *states: JobState) -> None:
        moves = [line["state"] for line in self.lines("move")]
        before = JobState(moves[-1]) if moves else JobState.STARTING
        for state in states:
            if before is not state:
                JOB_LIFECYCLE.check(before, state)
                self._write("move", state=state.value)
                before = state

    def note(
        self, message: str, *, level: Level = "info", data: dict[str, Any] | None = None
    ) -> None:
        self._write("note", message=message, level=level, data=data)

    def progress(self, progress: Progress) -> None:
        self._write("progress", **asdict(progress))
        killed = self.folder / "killed"
        if self.kill_at is not None and progress.step >= self.kill_at and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stop_at is not None and progress.step >= self.stop_at:
            (self.folder / "stop").touch()

    def heartbeat(self) -> bool:
        self._write("heartbeat")
        return (self.folder / "stop").exists()

    def checkpoint(self, step: int, uri: str, metrics: dict[str, float]) -> None:
        self._write("checkpoint", step=step, uri=uri, metrics=metrics)

    def registering(self, adapter_id: str, fine_tuned_model: str, trained_tokens: int) -> None:
        self._write("registering", id=adapter_id, name=fine_tuned_model, tokens=trained_tokens)

    def fail(self, code: str, message: str, *, param: str | None = None) -> None:
        self._write("fail", code=code, message=message, param=param)

    def close(self) -> None:
        pass

    def lines(self, kind: str | None = None) -> list[dict[str, Any]]:
        path = self.folder / "journal.jsonl"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return [line for line in lines if kind in (None, line["kind"])]

    def _write(self, kind: str, **fields: Any) -> None:
        if (self.folder / "superseded").exists():
            raise Superseded
        with (self.folder / "journal.jsonl").open("a") as out:
            out.write(json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n")


@dataclass(frozen=True)
class FolderPublisher:
    """Keeps adapters as folders."""

    folder: Path

    def publish(self, assignment: Assignment, name: str, folder: Path) -> str:
        shutil.copytree(folder, self.folder / "adapter", dirs_exist_ok=True)
        return "adapter-1"
