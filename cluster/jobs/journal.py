"""How a running fine-tune tells the control plane what it does.

The training process holds a `Journal`; `SqlJournal` writes to SQL, where watchers read. Every write
is fenced by the attempt: a process that was given up for lost and lives on gets `Superseded` and
must stop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cluster.jobs.spec import TrainingPlan
from cluster.jobs.states import JobState

Level = Literal["info", "warn", "error"]
"""Of an event, as OpenAI's clients know them."""


class Superseded(Exception):
    """The job has moved on without this process: cancelled, timed out, given to another attempt,
    or handed over by the worker that this one replaces.
    """


@dataclass(frozen=True)
class Progress:
    """One logged step. `eta` in seconds, `learning_rate` after the schedule.

    `at` is the Unix time of the step's end; it may be told some time later.
    """

    step: int
    max_steps: int
    epoch: float
    loss: float
    learning_rate: float
    tokens_per_second: float
    eta: float
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Assignment:
    """All that a training process needs to know, read once at its start."""

    job_id: str
    attempt: int
    organization_id: str
    organization_slug: str
    project_id: str
    base_model: str
    base_source: str
    """Local folder or hub name of the base model's weights."""
    base_limits: dict[str, Any]
    plan: TrainingPlan
    suffix: str | None
    training_uri: str
    """Of the data in the artifact store: JSONL that has been validated."""
    validation_uri: str | None


class Journal(Protocol):
    """Synchronous, callable from any thread; each call is one short transaction."""

    def assignment(self) -> Assignment: ...

    def move(self, *states: JobState) -> None:
        """Change the job's state, once for each of `states`: all of the moves or none.

        Raises Superseded, or Conflict for a move not in the table.
        """

    def note(
        self, message: str, *, level: Level = "info", data: dict[str, Any] | None = None
    ) -> None:
        """Append an event of type `message`."""

    def progress(self, progress: Progress) -> None:
        """Append an event of type `metrics` and update the job's row. Also a heartbeat."""

    def heartbeat(self) -> bool:
        """Say that the process lives. Returns whether the job is asked to stop (cancel, pause)."""

    def checkpoint(self, step: int, uri: str, metrics: dict[str, float]) -> None:
        """Record a checkpoint that is complete in the artifact store."""

    def registering(self, adapter_id: str, fine_tuned_model: str, trained_tokens: int) -> None:
        """The adapter is stored: from here the supervisor publishes it and ends the job."""

    def fail(self, code: str, message: str, *, param: str | None = None) -> None:
        """End the job: its data or its numbers can not work, trying again would not help."""

    def close(self) -> None: ...
