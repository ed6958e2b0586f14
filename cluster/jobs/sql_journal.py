"""The training process's journal, in SQL."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import Unavailable
from cluster.identifiers import new_id
from cluster.jobs.journal import Assignment, Level, Progress, Superseded
from cluster.jobs.spec import TrainingPlan
from cluster.jobs.states import HELD, RUNNING, JobState
from cluster.jobs.transition import append, fail, move, seize
from cluster.settings import Settings
from cluster.store.schema import (
    BaseModelRow,
    File,
    Job,
    JobCheckpoint,
    Organization,
    now,
)
from cluster.store.sql import Database

Result = TypeVar("Result")
PATIENCE = 60.0
"""Seconds that a write outlasts a database that is away."""


class SqlJournal:
    """`cluster.jobs.journal.Journal`. Its own thread runs the event loop that the store needs."""

    def __init__(
        self, settings: Settings, job_id: str, attempt: int, *, patience: float = PATIENCE
    ) -> None:
        self._job_id, self._attempt, self._patience = job_id, attempt, patience
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._database = Database(settings.sql_url)

    def assignment(self) -> Assignment:
        return self._write(self._assignment)

    def move(self, *states: JobState) -> None:
        async def change(session: AsyncSession, job: Job) -> None:
            job.heartbeat_at = now()
            if job.state == JobState.REGISTERING and states[0] in RUNNING:
                raise Superseded(f"{job.id} was handed over by the worker before this one")
            for state in states:
                if job.state != state:  # a commit whose answer was lost is not done twice
                    move(session, job, state, f"{state.value.capitalize()}.")

        self._write(change)

    def note(
        self, message: str, *, level: Level = "info", data: dict[str, Any] | None = None
    ) -> None:
        async def add(session: AsyncSession, job: Job) -> None:
            append(session, job, message, level=level, data=data)

        self._write(add)

    def progress(self, progress: Progress) -> None:
        data = asdict(progress) | {
            "train_loss": progress.loss,
            "total_steps": progress.max_steps,
        }
        del data["loss"]
        message = f"Step {progress.step}/{progress.max_steps}: loss {progress.loss:.4f}"

        async def change(session: AsyncSession, job: Job) -> None:
            job.step, job.max_steps, job.metrics = progress.step, progress.max_steps, data
            job.heartbeat_at = now()
            append(session, job, message, kind="metrics", data=data)

        self._write(change)

    def heartbeat(self) -> bool:
        async def beat(session: AsyncSession, job: Job) -> bool:
            job.heartbeat_at = now()
            return job.pause_requested

        return self._write(beat)

    def checkpoint(self, step: int, uri: str, metrics: dict[str, float]) -> None:
        async def add(session: AsyncSession, job: Job) -> None:
            # A resumed attempt may pass the step of a checkpoint that was made before.
            await session.execute(
                delete(JobCheckpoint).where(
                    JobCheckpoint.job_id == job.id, JobCheckpoint.step == step
                )
            )
            session.add(
                JobCheckpoint(
                    id=new_id("ftckpt-"), job_id=job.id, step=step, uri=uri, metrics=metrics
                )
            )
            job.failures, job.heartbeat_at = 0, now()
            append(session, job, f"Checkpoint at step {step}.", data={"step": step})

        self._write(add)

    def registering(self, adapter_id: str, fine_tuned_model: str, trained_tokens: int) -> None:
        async def change(session: AsyncSession, job: Job) -> None:
            if job.state == JobState.REGISTERING and job.adapter_id == adapter_id:
                return
            job.adapter_id, job.fine_tuned_model = adapter_id, fine_tuned_model
            job.trained_tokens, job.heartbeat_at = trained_tokens, now()
            job.pause_requested = False  # too late: nothing is left to pause
            message = f"The adapter {fine_tuned_model} is stored; replicas are loading it."
            move(session, job, JobState.REGISTERING, message)

        self._write(change)

    def fail(self, code: str, message: str, *, param: str | None = None) -> None:
        async def end(session: AsyncSession, job: Job) -> None:
            fail(session, job, code, message, param=param)

        self._write(end)

    def close(self) -> None:
        self._portal.call(self._database.close)
        self._stack.close()

    def _write(self, work: Callable[[AsyncSession, Job], Awaitable[Result]]) -> Result:
        """One fenced transaction, tried again while the database is away."""
        until = time.monotonic() + self._patience
        while True:
            try:
                return self._portal.call(self._transaction, work)
            except Unavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    async def _transaction(self, work: Callable[[AsyncSession, Job], Awaitable[Result]]) -> Result:
        async with self._database.begin() as session:
            job = await seize(session, self._job_id, attempt=self._attempt, states=HELD)
            if job is None:
                raise Superseded(f"{self._job_id} has moved on from attempt {self._attempt}")
            return await work(session, job)

    async def _assignment(self, session: AsyncSession, job: Job) -> Assignment:
        organization = await session.get_one(Organization, job.organization_id)
        base = await session.get_one(BaseModelRow, job.base_model)
        training = await session.get_one(File, job.training_file_id)
        validation = (
            await session.get_one(File, job.validation_file_id) if job.validation_file_id else None
        )
        job.heartbeat_at = now()
        return Assignment(
            job_id=job.id,
            attempt=job.attempt,
            organization_id=organization.id,
            organization_slug=organization.slug,
            project_id=job.project_id,
            base_model=base.name,
            base_source=base.source,
            base_limits=base.limits,
            plan=TrainingPlan.model_validate(job.resolved),
            suffix=job.suffix,
            training_uri=training.uri,
            validation_uri=validation.uri if validation else None,
        )
