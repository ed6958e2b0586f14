"""The catalogue: every name that can answer, in memory, as fresh as Redis and SQL allow."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from sqlalchemy import or_, select

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.alias import Alias, Caller
from cluster.catalog.aliases import present_aliases
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.lifecycle import AdapterState
from cluster.errors import LorikeetError, ModelNotFound, Unavailable
from cluster.store.schema import Adapter, AliasRow
from cluster.store.sql import Database
from cluster.waiting import happens

log = logging.getLogger(__name__)
POLL = 5.0


@dataclass(frozen=True, slots=True)
class Route:
    """What a name came to. `engine_model` is the name that the replica knows it by."""

    name: str
    base: BaseModel
    engine_model: str
    digest: str | None = None

    @property
    def kind(self) -> ModelKind:
        return self.base.kind


@dataclass(frozen=True)
class Listing:
    """A line of `/v1/models`. `created` is Unix time."""

    id: str
    created: int
    owned_by: str
    parent: str | None
    context_length: int


@dataclass(frozen=True)
class _Snapshot:
    bases: dict[str, Route] = field(default_factory=dict)
    adapters: dict[tuple[str, str], Route] = field(default_factory=dict)
    """By organization and name; the name with and without its digest."""
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    """By organization and name."""
    listings: dict[str, tuple[Listing, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Names:
    """The models that an organization can name."""

    snapshot: _Snapshot
    organization_id: str

    def get(self, name: str) -> Route | None:
        own = self.snapshot.adapters.get((self.organization_id, name))
        return own or self.snapshot.bases.get(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None


class Catalog:
    """Resolves known names without any I/O. `refresh` reads SQL; `watch` keeps calling it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot = _Snapshot()
        self._turn = asyncio.Lock()

    def resolve(self, organization_id: str, name: str, caller: Caller | None = None) -> Route:
        """The model of that name, or what an alias of that name has for the caller.

        Raises ModelNotFound: no name is ever answered by a model that it does not stand for.
        """
        names = _Names(self._snapshot, organization_id)
        route = names.get(name)
        if route is None and caller is not None:
            alias = self._snapshot.aliases.get((organization_id, name))
            target = None if alias is None else alias.pick(caller, names)
            route = None if target is None else names.get(target)
        if route is None:
            raise ModelNotFound(name)
        return route

    async def find(self, organization_id: str, name: str, caller: Caller) -> Route:
        """`resolve`, but what was published or named a moment ago is found too."""
        try:
            return self.resolve(organization_id, name, caller)
        except ModelNotFound:
            if not await self._is_new(organization_id, name):
                raise
        await self.refresh()
        return self.resolve(organization_id, name, caller)

    async def _is_new(self, organization_id: str, name: str) -> bool:
        """Whether SQL has it. Without SQL, what is in memory is all that there is."""
        adapter = select(Adapter.id).where(
            Adapter.organization_id == organization_id,
            Adapter.name == name,
            Adapter.state == AdapterState.PUBLISHED,
        )
        alias = select(AliasRow.id).where(
            AliasRow.organization_id == organization_id, AliasRow.name == name
        )
        try:
            async with self._database.begin() as session:
                return bool(await session.scalar(select(or_(adapter.exists(), alias.exists()))))
        except Unavailable:
            return False

    def listings(self, organization_id: str) -> list[Listing]:
        """Base models, then the organization's adapters and aliases, each oldest first."""
        public = self._snapshot.listings.get("", ())
        return [*public, *self._snapshot.listings.get(organization_id, ())]

    def bases(self) -> list[BaseModel]:
        return list(
            {route.base.name: route.base for route in self._snapshot.bases.values()}.values()
        )

    async def refresh(self) -> None:
        """Read the names anew. Refreshes take turns: a slow one must not undo a later one."""
        async with self._turn:
            await self._read()

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
        self._snapshot = _snapshot(bases, adapters, aliases)

    async def watch(self, changes: asyncio.Event) -> None:
        """Refresh at each change, and every few seconds in case one was missed."""
        while True:
            changes.clear()
            try:
                await self.refresh()
            except LorikeetError as error:
                log.warning("catalogue not refreshed, the last one stays in use: %s", error)
            await happens(changes, POLL)


def _snapshot(
    bases: dict[str, BaseModel], rows: list[Adapter], aliases: list[tuple[str, Alias]]
) -> _Snapshot:
    snapshot = _Snapshot()
    public = []
    for base in bases.values():
        for name in (base.name, *base.aliases):
            snapshot.bases[name] = Route(base.name, base, base.name)
        public.append(
            Listing(base.name, int(base.created_at), "lorikeet", None, base.context_length)
        )
    snapshot.listings[""] = tuple(public)
    own: dict[str, list[Listing]] = {}
    for row in rows:
        base_model = bases.get(row.base_model)
        if base_model is None:
            continue
        internal = engine_name(row.name, row.digest)
        route = Route(row.name, base_model, internal, row.digest)
        snapshot.adapters[row.organization_id, row.name] = route
        snapshot.adapters[row.organization_id, internal] = route
        own.setdefault(row.organization_id, []).append(
            Listing(
                row.name,
                int(row.created_at.timestamp()),
                row.organization_id,
                row.base_model,
                base_model.context_length,
            )
        )
    for organization_id, alias in aliases:
        snapshot.aliases[organization_id, alias.name] = alias
        names = _Names(snapshot, organization_id)
        found = [names.get(target.model) for target in alias.targets]
        lengths = [target.base.context_length for target in found if target is not None]
        if lengths:
            own.setdefault(organization_id, []).append(
                Listing(alias.name, alias.created, organization_id, None, min(lengths))
            )
    snapshot.listings.update({key: tuple(lines) for key, lines in own.items()})
    return snapshot
