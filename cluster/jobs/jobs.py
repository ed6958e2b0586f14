"""The fine-tunes of an organization: created, read, cancelled, paused, resumed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from cluster.files.purpose import Purpose
from cluster.identifiers import new_id
from cluster.jobs import bounds
from cluster.jobs.request import JobRequest
from cluster.jobs.states import JOB_LIFECYCLE, RUNNING, JobState
from cluster.jobs.transition import append, move, seize
from cluster.settings import Settings
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import Adapter, File, Job, JobCheckpoint, JobEvent, now
from cluster.store.sql import Database
from cluster.tenancy.principal import Principal

MAX_LIST = 1000
KEY_LIFE = timedelta(hours=24)
PAUSABLE = frozenset(s for s in RUNNING if JOB_LIFECYCLE.allows(s, JobState.PAUSED))


class Jobs:
    """Another organization's job is not found."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def create(self, principal: Principal, request: JobRequest) -> Job:
        """A job in its first state, or the one made before under the same idempotency key.

        Raises InvalidRequest, ModelNotFound, NotFound for a file, Conflict for a key that was
        used with another request.
        """
        request.check()
        base = await self._base(principal, request.model)
        bounds.check(request.spec, base, self._settings)
        row = Job(
            id=new_id("ftjob-"),
            organization_id=principal.organization_id,
            project_id=principal.project_id,
            base_model=base.name,
            state=JobState.VALIDATING.value,
            spec=request.spec.model_dump(mode="json"),
            training_file_id=request.training_file,
            validation_file_id=request.validation_file,
            suffix=request.suffix,
            request_metadata=request.metadata,
            idempotency_key=request.idempotency_key,
            request_digest=request.digest(),
        )
        try:
            async with self._database.begin() as session:
                earlier = await self._earlier(session, principal, request)
                if earlier is not None:
                    return earlier
                # The row first: it locks, so that no file can go between its check and the commit.
                session.add(row)
                await session.flush()
                await self._check_file(session, principal, "training_file", request.training_file)
                if request.validation_file is not None:
                    await self._check_file(
                        session, principal, "validation_file", request.validation_file
                    )
                append(session, row, f"Created a fine-tune of {base.name}.")
        except IntegrityError:
            # The same key at the same moment: the other one won.
            async with self._database.begin() as session:
                earlier = await self._earlier(session, principal, request)
            if earlier is None:
                raise
            return earlier
        return row

    async def get(self, principal: Principal, job_id: str) -> Job:
        """Raises NotFound."""
        async with self._database.begin() as session:
            return await _own(session, principal, job_id)

    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20
    ) -> Page[Job]:
        """Newest first."""
        query = select(Job).where(Job.organization_id == principal.organization_id)
        async with self._database.begin() as session:
            return await fetch_page(
                session,
                query,
                (Job.created_at, Job.id),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
            )

    async def events(
        self,
        principal: Principal,
        job_id: str,
        *,
        after: str | None = None,
        limit: int = 20,
        order: Order = Order.DESCENDING,
    ) -> Page[JobEvent]:
        """Newest first, unless asked otherwise."""
        async with self._database.begin() as session:
            await _own(session, principal, job_id)
            return await fetch_page(
                session,
                select(JobEvent).where(JobEvent.job_id == job_id),
                (JobEvent.seq,),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
                order=order,
            )

    async def checkpoints(
        self, principal: Principal, job_id: str, *, after: str | None = None, limit: int = 10
    ) -> Page[JobCheckpoint]:
        """Newest first."""
        async with self._database.begin() as session:
            await _own(session, principal, job_id)
            return await fetch_page(
                session,
                select(JobCheckpoint).where(JobCheckpoint.job_id == job_id),
                (JobCheckpoint.step,),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
            )

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        """End the job now, in whatever state it is. Raises Conflict if it has ended otherwise.

        A process that works on it is stopped by the supervisor, and can write no more already.
        """
        async with self._database.begin() as session:
            job = await _lock(session, principal, job_id)
            if job.state != JobState.CANCELLED:
                move(session, job, JobState.CANCELLED, "Cancelled.")
        return job

    async def pause(self, principal: Principal, job_id: str) -> Job:
        """Stop after a checkpoint; at once while queued. Raises Conflict where that can't be."""
        async with self._database.begin() as session:
            job = await _lock(session, principal, job_id)
            state = JobState(job.state)
            if state is JobState.QUEUED:
                move(session, job, JobState.PAUSED, "Paused.")
            elif state in PAUSABLE and not job.pause_requested:
                job.pause_requested = True
                append(session, job, "Asked to pause: a checkpoint will be written first.")
            elif state not in PAUSABLE and state is not JobState.PAUSED:
                JOB_LIFECYCLE.check(state, JobState.PAUSED)
        return job

    async def resume(self, principal: Principal, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its last checkpoint. Raises Conflict."""
        async with self._database.begin() as session:
            job = await _lock(session, principal, job_id)
            state = JobState(job.state)
            if state is not JobState.PAUSED:
                pausing = state in PAUSABLE and job.pause_requested
                found = "still pausing" if pausing else state.value
                raise Conflict(
                    f"{job_id} is {found}; only a paused job is resumed.",
                    code="invalid_job_state",
                )
            job.pause_requested = False
            job.started_at = None  # the time limit is on the time that it runs
            move(session, job, JobState.QUEUED, "Resumed: queued again.")
        return job

    async def _base(self, principal: Principal, name: str) -> BaseModel:
        for model in await BaseModels(self._database).list():
            if model.kind is ModelKind.LLM and name in (model.name, *model.aliases):
                return model
        async with self._database.begin() as session:
            adapter = await session.scalar(
                select(Adapter).where(
                    Adapter.organization_id == principal.organization_id, Adapter.name == name
                )
            )
        if adapter is not None:
            raise InvalidRequest(
                f"{name!r} is an adapter; fine-tune its base model, {adapter.base_model!r}.",
                param="model",
            )
        raise ModelNotFound(name)

    async def _earlier(
        self, session: AsyncSession, principal: Principal, request: JobRequest
    ) -> Job | None:
        """The job that holds the key; a key older than KEY_LIFE is taken from it."""
        if request.idempotency_key is None:
            return None
        held = (Job.organization_id == principal.organization_id) & (
            Job.idempotency_key == request.idempotency_key
        )
        await session.execute(
            update(Job)
            .where(held, Job.created_at < now() - KEY_LIFE)
            .values(idempotency_key=None)
            .execution_options(synchronize_session=False)
        )
        job = await session.scalar(select(Job).where(held))
        if job is not None and job.request_digest != request.digest():
            raise Conflict(
                "This Idempotency-Key was used with another request; it is kept for 24 hours.",
                param="Idempotency-Key",
                code="idempotency_key_reused",
            )
        return job

    async def _check_file(
        self, session: AsyncSession, principal: Principal, param: str, file_id: str
    ) -> None:
        file = await session.scalar(
            select(File)
            .where(File.id == file_id, File.organization_id == principal.organization_id)
            .with_for_update(read=True)
        )
        if file is None:
            raise NotFound(f"{param}: no such file: {file_id[:80]!r}.", param=param)
        if file.purpose != Purpose.FINE_TUNE:
            raise InvalidRequest(
                f"{param}: {file_id} has the purpose {file.purpose!r}; it must be "
                f"{Purpose.FINE_TUNE.value!r}.",
                param=param,
            )


async def _own(session: AsyncSession, principal: Principal, job_id: str) -> Job:
    job = await session.scalar(
        select(Job).where(Job.id == job_id, Job.organization_id == principal.organization_id)
    )
    if job is None:
        raise _missing(job_id)
    return job


async def _lock(session: AsyncSession, principal: Principal, job_id: str) -> Job:
    job = await seize(session, job_id, organization_id=principal.organization_id)
    if job is None:
        raise _missing(job_id)
    return job


def _missing(job_id: str) -> NotFound:
    return NotFound(f"No such fine-tuning job: {job_id[:80]!r}.", param="fine_tuning_job_id")
