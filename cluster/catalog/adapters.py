"""The adapters' registry: rows, their states, and the folders that they name."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
from redis.asyncio import Redis
from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.adapter_folder import inspect
from cluster.catalog.adapter_name import check_name, short
from cluster.catalog.announce import announce
from cluster.catalog.lifecycle import ADAPTER_LIFECYCLE, AdapterState
from cluster.catalog.names import (
    claim,
    holder,
    require_no_alias,
    require_no_base,
    require_no_virtual_model,
    served,
)
from cluster.catalog.wanted import WantedAdapters
from cluster.errors import Conflict, ModelNotFound, Unavailable
from cluster.identifiers import new_id
from cluster.store.artifacts import Artifacts, Blob
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import Adapter, now
from cluster.store.sql import Database, take_turns

FOLDER = "adapters"
MAX_LIST = 10_000
RETIRABLE = [s for s in AdapterState if ADAPTER_LIFECYCLE.allows(s, AdapterState.RETIRED)]
ATTEMPTS = 3
"""Of storing a folder that a sweep takes away at the same moment."""

Fence = Callable[[AsyncSession], Awaitable[None]]
"""Raises, in the transaction that writes an adapter's row, where the row must not be written."""


def _unretired(organization_id: str) -> Select[Adapter]:
    return select(Adapter).where(
        Adapter.organization_id == organization_id, Adapter.state != AdapterState.RETIRED
    )


class AdapterRegistry:
    """The one writer of adapter rows up to `publishing`; the publisher moves them from there."""

    def __init__(self, database: Database, artifacts: Artifacts, redis: Redis) -> None:
        self._database = database
        self._artifacts = artifacts
        self._redis = redis
        self._wanted = WantedAdapters(database)

    async def register(
        self,
        *,
        organization_id: str,
        project_id: str,
        name: str,
        base_model: str,
        folder: Path,
        job_id: str | None = None,
        fence: Fence | None = None,
    ) -> Adapter:
        """Check, store and publish the adapter in `folder`. Doing it twice is doing it once.

        A job may do it again with other weights: those of a try that was cut off are retired.
        Raises InvalidRequest for an adapter or a name that can't be served, ModelNotFound for an
        unknown base, Conflict where the name belongs to other weights, and what `fence` raises.
        """
        check_name(name)
        bases = await served(self._database)
        base = bases.get(base_model)
        if base is None:
            raise ModelNotFound(base_model, param="base_model")
        require_no_base(bases, name)
        checked = await anyio.to_thread.run_sync(inspect, folder, base)
        row = Adapter(
            id=new_id("adapter-"),
            organization_id=organization_id,
            project_id=project_id,
            name=name,
            base_model=base.name,
            bytes=checked.bytes,
            rank=checked.rank,
            target_modules=list(checked.target_modules),
            state=AdapterState.PUBLISHING.value,
            job_id=job_id,
        )
        for _ in range(ATTEMPTS):
            blob = await anyio.to_thread.run_sync(self._artifacts.put_folder, FOLDER, folder)
            row.digest, row.uri = blob.sha256, blob.uri
            try:
                kept = await self._keep(row, blob, fence)
            except BaseException:
                # The first error is what the caller has to know.
                with anyio.CancelScope(shield=True), contextlib.suppress(Unavailable):
                    await self._release(blob)
                raise
            if kept is not None:
                await announce(self._redis)
                return kept
        raise Unavailable("The same adapter was just being removed: try again.")

    async def _keep(self, row: Adapter, blob: Blob, fence: Fence | None) -> Adapter | None:
        """The row that has the name; None where the folder went meanwhile. Raises Conflict."""
        existing = await self._live(row.organization_id, row.name)
        if existing is None or _outdated(existing, row):
            try:
                async with self._database.begin() as session:
                    await take_turns(session, blob.sha256)
                    if not await anyio.to_thread.run_sync(self._artifacts.holds, blob):
                        return None
                    await claim(session, row.organization_id, row.name)
                    await require_no_alias(session, row.organization_id, row.name)
                    await require_no_virtual_model(session, row.organization_id, row.name)
                    if fence is not None:
                        await fence(session)
                    if existing is not None:
                        await session.execute(
                            update(Adapter)
                            .where(Adapter.id == existing.id)
                            .values(state=AdapterState.RETIRED.value)
                        )
                    session.add(row)
                return row
            except IntegrityError:
                existing = await self._live(row.organization_id, row.name)
                if existing is None:  # who had the name has just lost it
                    return None
        if existing.digest != blob.sha256 or existing.base_model != row.base_model:
            raise Conflict(
                f"The name {row.name!r} belongs to other weights "
                f"({short(existing.digest)}, {existing.state}). Remove it first or choose "
                "another name.",
                param="name",
                code="adapter_exists",
            )
        return existing

    async def _release(self, blob: Blob) -> None:
        """Remove a folder that no row names."""
        async with self._database.begin() as session:
            await take_turns(session, blob.sha256)
            named = (Adapter.uri == blob.uri) & Adapter.files_removed_at.is_(None)
            if await session.scalar(select(Adapter.id).where(named).limit(1)) is None:
                await anyio.to_thread.run_sync(self._artifacts.delete, blob.uri)

    async def _live(self, organization_id: str, name: str) -> Adapter | None:
        async with self._database.begin() as session:
            return await session.scalar(holder(organization_id, name))

    async def list(self, organization_id: str) -> Sequence[Adapter]:
        """All adapters of an organization that are not retired, oldest first."""
        query = _unretired(organization_id).order_by(Adapter.created_at, Adapter.id)
        async with self._database.begin() as session:
            return (await session.scalars(query)).all()

    async def page(
        self,
        organization_id: str,
        *,
        after: str | None = None,
        limit: int = MAX_LIST,
        order: Order = Order.ASCENDING,
    ) -> Page[Adapter]:
        """Some of what `list` has. Raises InvalidRequest for a wrong limit or cursor."""
        async with self._database.begin() as session:
            return await fetch_page(
                session,
                _unretired(organization_id),
                (Adapter.created_at, Adapter.id),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
                order=order,
            )

    async def wanted(self, base_model: str | None = None) -> Sequence[Adapter]:
        """What the replicas of `base_model` (of all models) should hold, whoever's it is."""
        return await self._wanted.read(base_model)

    async def get(self, adapter_id: str) -> Adapter | None:
        async with self._database.begin() as session:
            return await session.get(Adapter, adapter_id)

    async def retire(self, organization_id: str, name: str) -> None:
        """Take a name out of service. Raises ModelNotFound, also to all but one at a time."""
        newest = (
            select(Adapter.id)
            .where(
                Adapter.organization_id == organization_id,
                Adapter.name == name,
                Adapter.state.in_(RETIRABLE),
            )
            .order_by(Adapter.created_at.desc())
            .limit(1)
        )
        async with self._database.begin() as session:
            # The state once more: of callers at the same moment the first changes the row, and
            # the others find it changed when their turn comes.
            retired = await session.scalar(
                update(Adapter)
                .where(Adapter.id == newest.scalar_subquery(), Adapter.state.in_(RETIRABLE))
                .values(state=AdapterState.RETIRED.value)
                .returning(Adapter.id)
                .execution_options(synchronize_session=False)
            )
            if retired is None:
                raise ModelNotFound(name)
        await announce(self._redis)

    async def withdraw(self, adapter_id: str) -> None:
        """Take one adapter out of service, whatever its name. Again is the same as once."""
        async with self._database.begin() as session:
            row = await session.get(Adapter, adapter_id)
            if row is None or row.state == AdapterState.RETIRED:
                return
            row.state = AdapterState.RETIRED
        await announce(self._redis)

    async def move(
        self,
        adapter_id: str,
        state: AdapterState,
        *,
        error: str | None,
        acknowledged: int,
        replicas: int,
    ) -> None:
        """Record what the replicas said.

        Raises Conflict for a move that the table lacks, and where another comes in between.
        """
        async with self._database.begin() as session:
            row = await session.get_one(Adapter, adapter_id)
            before = AdapterState(row.state)
            if before is not state:
                ADAPTER_LIFECYCLE.check(before, state)
            at = row.published_at or (now() if state is AdapterState.PUBLISHED else None)
            # Reading locks nothing: whoever deletes the adapter may commit before this write.
            moved = await session.scalar(
                update(Adapter)
                .where(Adapter.id == adapter_id, Adapter.state == before)
                .values(state=state.value, error=error, published_at=at)
                .values(acknowledged=acknowledged, replicas=replicas)
                .returning(Adapter.id)
                .execution_options(synchronize_session=False)
            )
            if moved is None:
                raise Conflict(f"{adapter_id} is {before} no more.")


def _outdated(existing: Adapter, row: Adapter) -> bool:
    """Whether `existing` is what an earlier try of the same job left behind."""
    same_job = row.job_id is not None and existing.job_id == row.job_id
    return same_job and existing.digest != row.digest
