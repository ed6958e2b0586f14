"""Handing a finished adapter to the catalogue, which checks, stores and announces it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from cluster.errors import Conflict, InvalidRequest, ModelNotFound
from cluster.jobs.journal import Assignment
from cluster.settings import Settings
from train.faults import Unworkable


class Publisher(Protocol):
    """Where adapters go."""

    def publish(self, assignment: Assignment, name: str, folder: Path) -> str:
        """Register the adapter in `folder`; its id. Doing it twice is doing it once.

        Raises Unworkable where the catalogue refuses the adapter itself.
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
        from cluster.store.artifacts import Artifacts
        from cluster.store.redis import connect
        from cluster.store.sql import Database

        self._settings = settings
        self._registry, self._artifacts = AdapterRegistry, Artifacts(settings.artifacts)
        self._database, self._connect = Database, connect

    def publish(self, assignment: Assignment, name: str, folder: Path) -> str:
        try:
            return asyncio.run(self._register(assignment, name, folder))
        except (InvalidRequest, ModelNotFound, Conflict) as error:
            raise Unworkable(error.code, error.message, param=error.param) from error

    async def _register(self, assignment: Assignment, name: str, folder: Path) -> str:
        # Both are bound to the event loop that uses them.
        database = self._database(self._settings.sql_url)
        redis = self._connect(self._settings.redis)
        try:
            row = await self._registry(database, self._artifacts, redis).register(
                organization_id=assignment.organization_id,
                project_id=assignment.project_id,
                name=name,
                base_model=assignment.base_model,
                folder=folder,
                job_id=assignment.job_id,
            )
            return row.id
        finally:
            await redis.aclose()
            await database.close()
