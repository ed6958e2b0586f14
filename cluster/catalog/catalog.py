"""The catalogue: every name that can answer, in memory, as fresh as Redis and SQL allow."""

from __future__ import annotations

import asyncio
import logging
import math
from time import monotonic

from sqlalchemy import or_, select

from cluster.catalog.aliases import present_aliases
from cluster.catalog.base_models import BaseModel, BaseModels
from cluster.catalog.caller import Caller
from cluster.catalog.connection import Connection
from cluster.catalog.connections import present_connections
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.route import Plan
from cluster.catalog.snapshot import Listing, Snapshot, compose
from cluster.catalog.virtual_models import present_virtual_models
from cluster.errors import LorikeetError, ModelNotFound, Unavailable
from cluster.store.schema import Adapter, AliasRow, ConnectionRow, VirtualModelRow
from cluster.store.sql import Database, within
from cluster.waiting import happens

log = logging.getLogger(__name__)
POLL = 5.0
LOOK_WITHIN = 5.0
"""Seconds that a caller of an unknown name waits for SQL to say so."""
READ_WITHIN = 10.0
"""Seconds that reading all names may take: whoever comes after waits as long for their turn."""
PACE = 1.0
"""Seconds between two refreshes for names that only SQL has: reading takes long, and is all's."""


class Catalog:
    """Resolves known names without any I/O. `refresh` reads SQL; `watch` keeps calling it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot = Snapshot()
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._reread_at = -math.inf
        self._unanswered: set[tuple[str, str | None, str]] = set()
        """By organization, project and name: SQL has them, and yet they lead to nothing."""

    def resolve(self, organization_id: str, name: str, caller: Caller | None = None) -> Plan:
        """The model of that name, or what the name stands for to the caller.

        Raises ModelNotFound: no name is ever answered by a model that it does not stand for.
        """
        plan = self._snapshot.plan(organization_id, name, caller)
        if plan is None:
            raise ModelNotFound(name)
        return plan

    async def find(self, organization_id: str, name: str, caller: Caller) -> Plan:
        """`resolve`, but what was published or named a moment ago is found too."""
        try:
            return self.resolve(organization_id, name, caller)
        except ModelNotFound:
            asked = organization_id, caller.project, name
            if asked in self._unanswered or not await self._is_new(organization_id, name, caller):
                raise
        await self._reread()
        try:
            return self.resolve(organization_id, name, caller)
        except ModelNotFound:
            self._unanswered.add(asked)
            raise

    async def _reread(self) -> None:
        """A refresh that begins after this call, shared by all who wait for one."""
        if self._next is None:
            self._next = asyncio.create_task(self._refresh_in_time())
        await asyncio.shield(self._next)

    async def _refresh_in_time(self) -> None:
        await asyncio.sleep(self._reread_at + PACE - monotonic())
        self._next = None  # who asks from now on may have been named after what is read
        self._reread_at = monotonic()
        await self.refresh()

    async def _is_new(self, organization_id: str, name: str, caller: Caller) -> bool:
        """Whether SQL has it. Without SQL, what is in memory is all that there is."""
        adapter = select(Adapter.id).where(
            Adapter.organization_id == organization_id,
            Adapter.name == name,
            Adapter.state == AdapterState.PUBLISHED,
        )
        alias = select(AliasRow.id).where(
            AliasRow.organization_id == organization_id, AliasRow.name == name
        )
        virtual = select(VirtualModelRow.id).where(
            VirtualModelRow.organization_id == organization_id,
            VirtualModelRow.project_id == caller.project,
            VirtualModelRow.name == name,
        )
        # Of a connection that is known all models are.
        provider = self._snapshot.unknown_provider(organization_id, name)
        connection = select(ConnectionRow.id).where(
            ConnectionRow.organization_id == organization_id,
            ConnectionRow.name == provider,
            ConnectionRow.enabled.is_(True),
        )
        there = or_(adapter.exists(), alias.exists(), virtual.exists(), connection.exists())
        try:
            async with within(LOOK_WITHIN), self._database.begin() as session:
                return bool(await session.scalar(select(there)))
        except Unavailable:
            return False

    def listings(self, organization_id: str, project_id: str) -> list[Listing]:
        """Base models, then the organization's adapters, other providers' models and aliases and
        the project's virtual models, each oldest first."""
        seen = self._snapshot.listings
        return [line for who in ("", organization_id, project_id) for line in seen.get(who, ())]

    def connection(self, connection_id: str) -> Connection | None:
        return self._snapshot.connections_by_id.get(connection_id)

    def bases(self) -> list[BaseModel]:
        return list(
            {route.base.name: route.base for route in self._snapshot.bases.values()}.values()
        )

    async def refresh(self) -> None:
        """Read the names anew. Refreshes take turns: a slow one must not undo a later one."""
        async with within(READ_WITHIN), self._turn:
            await self._read()

    async def catch_up(self) -> None:
        """`refresh` after a change that is made: one that can't be seen yet did not fail."""
        try:
            await self.refresh()
        except LorikeetError as error:
            log.warning("a change of the catalogue is made and not in use yet: %s", error)

    async def _read(self) -> None:
        bases = {model.name: model for model in await BaseModels(self._database).list()}
        async with self._database.begin() as session:
            adapters = list(
                await session.scalars(
                    select(Adapter)
                    .where(Adapter.state == AdapterState.PUBLISHED)
                    .order_by(Adapter.created_at, Adapter.id)
                )
            )
            aliases = await present_aliases(session)
            virtual_models = await present_virtual_models(session)
            connections = await present_connections(session)
        self._snapshot = compose(bases, adapters, aliases, virtual_models, connections)

    async def watch(self, changes: asyncio.Event) -> None:
        """Refresh at each change, and every few seconds in case one was missed."""
        while True:
            changes.clear()
            self._unanswered.clear()
            try:
                await self.refresh()
            except LorikeetError as error:
                log.warning("catalogue not refreshed, the last one stays in use: %s", error)
            await happens(changes, POLL)
