"""The virtual models of an organization's projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.announce import announce
from cluster.catalog.names import (
    check_name,
    claim,
    require_no_adapter,
    require_no_alias,
    require_no_base,
    served,
)
from cluster.catalog.preset import Preset
from cluster.catalog.split import Target
from cluster.catalog.targets import check_models, check_weights
from cluster.catalog.virtual_model import Strategy, VirtualModel
from cluster.errors import Conflict, NotFound
from cluster.identifiers import new_id
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import VirtualModelRow
from cluster.store.sql import Database, take_turns

MAX_LIST = 100
MAX_VIRTUAL_MODELS = 1000
"""Of one organization, in all projects: every router holds them all."""


@dataclass(frozen=True)
class Project:
    """Whose virtual models are meant."""

    organization_id: str
    id: str


@dataclass(frozen=True)
class Wish:
    """All that can be said of a virtual model but its name."""

    targets: tuple[Target, ...]
    strategy: Strategy = Strategy.FALLBACK
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None
    patience: float | None = None


class VirtualModels:
    """The one writer of virtual models. Routers read them from the catalogue."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def create(self, project: Project, name: str, wish: Wish) -> VirtualModel:
        """Raises InvalidRequest for a name or targets that can't be, ModelNotFound for a target
        that nobody serves, and Conflict where another thing has the name."""
        check_name(name, "a virtual model")
        organization_id = project.organization_id
        bases = await served(self._database)
        require_no_base(bases, name)
        check_weights(wish.targets)
        async with self._database.begin() as session:
            await claim(session, organization_id, name)
            await require_no_alias(session, organization_id, name)
            await require_no_adapter(session, organization_id, name)
            if await session.scalar(_query(project, name)) is not None:
                raise Conflict(f"{name!r} is the name of a virtual model.", param="name")
            await check_models(session, organization_id, _fields(wish), bases, aliases=True)
            await take_turns(session, f"virtual models {organization_id}")
            mine = select(func.count()).where(VirtualModelRow.organization_id == organization_id)
            if (await session.scalar(mine) or 0) >= MAX_VIRTUAL_MODELS:
                raise Conflict(f"At most {MAX_VIRTUAL_MODELS} virtual models are kept.")
            row = VirtualModelRow(
                id=new_id("vm-"), organization_id=organization_id, project_id=project.id,
                name=name, version=1, **_columns(wish),
            )  # fmt: skip
            session.add(row)
        await announce(self._redis)
        return compose(row)

    async def change(
        self,
        project: Project,
        name: str,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
    ) -> VirtualModel:
        """Set those fields of its `Wish` that `changes` names: a new version.

        Raises Conflict where `version` is given and another one holds meanwhile, NotFound, and
        for targets what `create` raises.
        """
        bases = await served(self._database)
        async with self._database.begin() as session:
            await claim(session, project.organization_id, name)
            row = await _present(session, project, name)
            if version not in (None, row.version):
                raise Conflict(
                    f"{name!r} is at version {row.version} by now, not {version}.", param="version"
                )
            wish = replace(_wish(row), **changes)
            check_weights(wish.targets)
            await check_models(session, project.organization_id, _fields(wish), bases, aliases=True)
            for column, value in _columns(wish).items():
                setattr(row, column, value)
            row.version += 1
        await announce(self._redis)
        return compose(row)

    async def remove(self, project: Project, name: str) -> None:
        """The name is unknown from the next request on. Raises NotFound."""
        async with self._database.begin() as session:
            await claim(session, project.organization_id, name)
            await session.delete(await _present(session, project, name))
        await announce(self._redis)

    async def get(self, project: Project, name: str) -> VirtualModel:
        """Raises NotFound."""
        async with self._database.begin() as session:
            return compose(await _present(session, project, name))

    async def page(
        self, project: Project, *, after: str | None, limit: int, order: Order
    ) -> Page[VirtualModel]:
        """Raises InvalidRequest for a wrong limit or cursor."""
        async with self._database.begin() as session:
            page = await fetch_page(
                session, _all(project), (VirtualModelRow.created_at, VirtualModelRow.id),
                after=after, limit=limit, max_limit=MAX_LIST, order=order,
            )  # fmt: skip
            return Page(tuple(compose(row) for row in page.items), page.has_more)


def _all(project: Project) -> Any:
    return select(VirtualModelRow).where(
        VirtualModelRow.organization_id == project.organization_id,
        VirtualModelRow.project_id == project.id,
    )


def _query(project: Project, name: str) -> Any:
    return _all(project).where(VirtualModelRow.name == name)


async def _present(session: AsyncSession, project: Project, name: str) -> VirtualModelRow:
    row: VirtualModelRow | None = await session.scalar(_query(project, name))
    if row is None:
        raise NotFound(f"There is no virtual model {name[:200]!r}.", param="name")
    return row


def _fields(wish: Wish) -> dict[str, str]:
    return {f"targets[{index}].model": target.model for index, target in enumerate(wish.targets)}


def _columns(wish: Wish) -> dict[str, Any]:
    return {
        "strategy": wish.strategy.value,
        "targets": [asdict(target) for target in wish.targets],
        "defaults": dict(wish.defaults),
        "fixed": dict(wish.fixed),
        "system_prompt": wish.system_prompt,
        "patience": wish.patience,
    }


def _wish(row: VirtualModelRow) -> Wish:
    return Wish(
        targets=tuple(Target(**target) for target in row.targets),
        strategy=Strategy(row.strategy),
        defaults=row.defaults,
        fixed=row.fixed,
        system_prompt=row.system_prompt,
        patience=row.patience,
    )


def compose(row: VirtualModelRow) -> VirtualModel:
    wish = _wish(row)
    return VirtualModel(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        version=row.version,
        strategy=wish.strategy,
        targets=wish.targets,
        preset=Preset(wish.defaults, wish.fixed, wish.system_prompt),
        patience=wish.patience,
        created=int(row.created_at.timestamp()),
    )


async def present_virtual_models(session: AsyncSession) -> Sequence[tuple[str, VirtualModel]]:
    """Every organization's virtual models, with its id, oldest first."""
    rows = await session.scalars(
        select(VirtualModelRow).order_by(VirtualModelRow.created_at, VirtualModelRow.id)
    )
    return [(row.organization_id, compose(row)) for row in rows]
