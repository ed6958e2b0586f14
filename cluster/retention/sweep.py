"""Removes from the artifact store what nothing needs any more.

Each removal decides anew under the lock that those who add rows take, deletes, and notes it in the
row; whatever dies in between, the next sweep does the same again. Only what a row names is ever
removed, and what a crash left half-way: a store that two databases share by mistake loses nothing
of the other's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import anyio.to_thread
from sqlalchemy import delete, select, update

from cluster.catalog.lifecycle import WANTED
from cluster.catalog.replicas import ReplicaDirectory
from cluster.jobs.states import JOB_LIFECYCLE
from cluster.retention.policy import Policy
from cluster.store.artifacts import Artifacts
from cluster.store.leftovers import remove_leftovers
from cluster.store.schema import Adapter, Job, JobCheckpoint, now
from cluster.store.sql import Database, take_turns

log = logging.getLogger(__name__)


class Sweep:
    """Any number may run at once."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        directory: ReplicaDirectory,
        policy: Policy,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._directory = directory
        self._policy = policy
        self._clock = clock

    async def step(self) -> list[str]:
        """Remove what may go; the URIs of it.

        Raises redis' errors, without which nobody knows what replicas hold, and Unavailable.
        """
        moment = self._clock()
        removed = [
            await self._remove_job(job)
            for job in await self._ended()
            if self._policy.frees_job(job, moment)
        ]
        replicas = [one for group in (await self._directory.read()).values() for one in group]
        held = {name for replica in replicas for name in replica.adapters}
        for uri, digest in await self._unwanted():
            if await self._remove_adapter(uri, digest, held, moment):
                removed.append(uri)
        before = moment - self._policy.leftover
        removed += await anyio.to_thread.run_sync(remove_leftovers, self._artifacts, before)
        if removed:
            log.info("removed from the artifact store: %s", ", ".join(removed))
        return removed

    async def _ended(self) -> Sequence[Job]:
        async with self._database.begin() as session:
            jobs = await session.scalars(
                select(Job).where(
                    Job.state.in_(JOB_LIFECYCLE.terminal), Job.files_removed_at.is_(None)
                )
            )
            return jobs.all()

    async def _remove_job(self, job: Job) -> str:
        # No lock: an end is for good, and nobody but the job's own processes writes there.
        uri = f"jobs/{job.id}"
        await anyio.to_thread.run_sync(self._artifacts.delete, uri)
        async with self._database.begin() as session:
            await session.execute(delete(JobCheckpoint).where(JobCheckpoint.job_id == job.id))
            await session.execute(
                update(Job).where(Job.id == job.id).values(files_removed_at=now())
            )
        return uri

    async def _unwanted(self) -> Sequence[tuple[str, str]]:
        async with self._database.begin() as session:
            rows = await session.execute(
                select(Adapter.uri, Adapter.digest)
                .where(Adapter.state.not_in(WANTED), Adapter.files_removed_at.is_(None))
                .distinct()
            )
            return [(uri, digest) for uri, digest in rows]

    async def _remove_adapter(
        self, uri: str, digest: str, held: Collection[str], moment: datetime
    ) -> bool:
        async with self._database.begin() as session:
            await take_turns(session, digest)
            sharing = (await session.scalars(select(Adapter).where(Adapter.uri == uri))).all()
            if not self._policy.frees_folder(sharing, held, moment):
                return False
            await anyio.to_thread.run_sync(self._artifacts.delete, uri)
            await session.execute(
                update(Adapter).where(Adapter.uri == uri).values(files_removed_at=now())
            )
        return True
