"""Handing a finished fine-tune over: the catalogue checks, stores and announces adapters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cluster.catalog.peft_files import CARD
from cluster.errors import Conflict, InvalidRequest, ModelNotFound
from cluster.jobs.journal import Assignment, Superseded
from cluster.jobs.spec import Method
from cluster.jobs.states import JobState
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from train.card import Outcome, model_card
from train.faults import Unworkable
from train.reporter import Reporter

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

AGAIN = 2.0
"""Seconds between two tries while the base model is away."""


class Publisher(Protocol):
    """Where adapters go."""

    def publish(self, assignment: Assignment, name: str, folder: Path) -> str:
        """Register the adapter in `folder`; its id. Doing it twice is doing it once.

        A base model that went a moment ago is waited for, as at the job's start.
        Raises Unworkable where the catalogue refuses the adapter itself, Superseded where the job
        is no longer this attempt's.
        """


def model_name(assignment: Assignment) -> str:
    """OpenAI's form: `ft:<base>:<organization>:<suffix>:<end of the job's id>`."""
    tail = assignment.job_id[-8:]
    suffix = assignment.suffix or ""
    return f"ft:{assignment.base_model}:{assignment.organization_slug}:{suffix}:{tail}"


class CataloguePublisher:
    """Publishes to this product's own catalogue."""

    def __init__(self, settings: Settings) -> None:
        # Imported with the object and not with the first use: that one is on the way from the
        # last step to the first answer.
        from cluster.catalog.adapters import AdapterRegistry
        from cluster.jobs.transition import seize
        from cluster.store.redis import connect
        from cluster.store.sql import Database

        self._settings = settings
        self._registry, self._artifacts = AdapterRegistry, Artifacts(settings.artifacts)
        self._database, self._connect, self._seize = Database, connect, seize

    def publish(self, assignment: Assignment, name: str, folder: Path) -> str:
        try:
            return asyncio.run(self._register(assignment, name, folder))
        except ModelNotFound as error:
            raise Unworkable(error.code, error.message, param="model") from error
        except (InvalidRequest, Conflict) as error:  # of no field that a job's request has
            raise Unworkable(error.code, error.message) from error

    async def _register(self, assignment: Assignment, name: str, folder: Path) -> str:
        async def fence(session: AsyncSession) -> None:
            job, attempt = assignment.job_id, assignment.attempt
            if await self._seize(session, job, attempt=attempt, states=[JobState.SAVING]) is None:
                raise Superseded(f"{job} has moved on from attempt {attempt}")

        # Both are bound to the event loop that uses them.
        database = self._database(self._settings.sql_url)
        redis = self._connect(self._settings.redis)
        try:
            registry = self._registry(database, self._artifacts, redis)
            while True:
                try:
                    row = await registry.register(
                        organization_id=assignment.organization_id,
                        project_id=assignment.project_id,
                        name=name,
                        base_model=assignment.base_model,
                        folder=folder,
                        job_id=assignment.job_id,
                        fence=fence,
                    )
                    return row.id
                except ModelNotFound:
                    async with database.begin() as session:
                        await fence(session)
                        if not await self._awaited(session, assignment.base_model):
                            raise
                await asyncio.sleep(AGAIN)
        finally:
            await redis.aclose()
            await database.close()

    async def _awaited(self, session: AsyncSession, base_model: str) -> bool:
        """Whether a model that was not found is back already, or may come back."""
        from cluster.jobs.intake import may_come_back
        from cluster.store.schema import BaseModelRow

        row = await session.get(BaseModelRow, base_model)
        return row is not None and (row.removed_at is None or may_come_back(row, self._settings))


def hand_over(
    assignment: Assignment,
    outcome: Outcome,
    folder: Path,
    artifacts: Artifacts,
    publisher: Publisher,
    reporter: Reporter,
) -> None:
    """Add the card, and give an adapter to the catalogue or a whole model to the store.

    Nothing is given away for a job that was cancelled, or given to another attempt, meanwhile.
    """
    name = model_name(assignment)
    reporter.flush()
    if not reporter.holds():
        return
    (folder / CARD).write_text(model_card(name, assignment, outcome))
    if assignment.plan.method is Method.FULL:
        blob = artifacts.put_folder("models", folder)
        reporter.note(f"The fine-tuned model is stored as {blob.uri}.", uri=blob.uri)
        reporter.move(JobState.REGISTERING, JobState.SUCCEEDED)
        return
    try:
        adapter_id = publisher.publish(assignment, name, folder)
    except Superseded:
        return
    reporter.registering(adapter_id, name, outcome.trained_tokens)
