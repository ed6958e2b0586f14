"""The aliases of an organization: every change is a version, kept as long as the alias is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import Enum

from redis.asyncio import Redis
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.alias import Alias, Shadow
from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel
from cluster.catalog.caller import Sticky
from cluster.catalog.names import (
    check_name,
    claim,
    require_no_adapter,
    require_no_alias,
    require_no_base,
    require_no_virtual_model,
    served,
)
from cluster.catalog.split import Target
from cluster.catalog.targets import check_models, check_weights
from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.identifiers import new_id
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import AliasRow, AliasVersion
from cluster.store.sql import Database, take_turns

MAX_LIST = 100
MAX_ALIASES = 1000
"""Of one organization: every router holds them all."""


class As(Enum):
    """What a change does not name stays as it was."""

    BEFORE = "before"


class Aliases:
    """The one writer of aliases. Routers read them from the catalogue."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def create(
        self,
        organization_id: str,
        key_id: str,
        name: str,
        targets: Sequence[Target],
        sticky: Sticky = Sticky.NONE,
        shadow: Shadow | None = None,
    ) -> Alias:
        """Raises InvalidRequest for a name or targets that can't be, ModelNotFound for a target
        that nobody serves, and Conflict where a model, an adapter or an alias has the name."""
        check_name(name, "an alias")
        bases = await served(self._database)
        require_no_base(bases, name)
        async with self._database.begin() as session:
            await claim(session, organization_id, name)
            await require_no_alias(session, organization_id, name)
            await require_no_adapter(session, organization_id, name)
            await require_no_virtual_model(session, organization_id, name)
            await _check(session, organization_id, targets, shadow, bases)
            await take_turns(session, f"aliases {organization_id}")
            mine = select(func.count()).where(AliasRow.organization_id == organization_id)
            if (await session.scalar(mine) or 0) >= MAX_ALIASES:
                raise Conflict(f"At most {MAX_ALIASES} aliases are kept.")
            row = AliasRow(
                id=new_id("alias-"), organization_id=organization_id, name=name, version=0
            )
            session.add(row)
            await session.flush()
            version = _add(session, row, key_id, _plain(targets), sticky, _shadow(shadow))
        await announce(self._redis)
        return compose(row, version)

    async def change(
        self,
        organization_id: str,
        key_id: str,
        name: str,
        targets: Sequence[Target],
        sticky: Sticky | As = As.BEFORE,
        shadow: Shadow | As | None = As.BEFORE,
        *,
        version: int | None = None,
    ) -> Alias:
        """Let `name` stand for `targets` from now on.

        Raises Conflict where `version` is given and another one holds meanwhile, NotFound for a
        name that is no alias, and for targets what `create` raises.
        """
        bases = await served(self._database)
        async with self._database.begin() as session:
            await claim(session, organization_id, name)
            row, present = await _present(session, organization_id, name)
            if version not in (None, row.version):
                raise Conflict(
                    f"{name!r} is at version {row.version} by now, not {version}.", param="version"
                )
            before = compose(row, present)
            sticky = before.sticky if isinstance(sticky, As) else sticky
            shadow = before.shadow if isinstance(shadow, As) else shadow
            await _check(session, organization_id, targets, shadow, bases)
            made = _add(session, row, key_id, _plain(targets), sticky, _shadow(shadow))
        await announce(self._redis)
        return compose(row, made)

    async def roll_back(
        self, organization_id: str, key_id: str, name: str, to: int | None = None
    ) -> Alias:
        """Bring a version back: `to`, or the one before what holds now. Twice is two back.

        Raises NotFound for an alias or a version that is not, Conflict where there is none before
        and ModelNotFound where a target of it is gone.
        """
        bases = await served(self._database)
        async with self._database.begin() as session:
            await claim(session, organization_id, name)
            row, present = await _present(session, organization_id, name)
            if to is None:
                to = (present.restores or present.version) - 1
                if to < 1:
                    raise Conflict(f"{name!r} has no version before this one.")
            old = await session.get(AliasVersion, (row.id, to))
            if old is None:
                raise NotFound(f"{name!r} has no version {to}.", param="version")
            once = compose(row, old)
            await _check(session, organization_id, once.targets, once.shadow, bases)
            restores = old.restores or old.version
            made = _add(session, row, key_id, old.targets, once.sticky, old.shadow, restores)
        await announce(self._redis)
        return compose(row, made)

    async def remove(self, organization_id: str, name: str) -> None:
        """The name is unknown from the next request on, its history gone. Raises NotFound."""
        async with self._database.begin() as session:
            await claim(session, organization_id, name)
            row, _ = await _present(session, organization_id, name)
            await session.execute(delete(AliasVersion).where(AliasVersion.alias_id == row.id))
            await session.delete(row)
        await announce(self._redis)

    async def get(self, organization_id: str, name: str) -> Alias:
        async with self._database.begin() as session:
            return compose(*await _present(session, organization_id, name))

    async def page(
        self, organization_id: str, *, after: str | None, limit: int, order: Order
    ) -> Page[Alias]:
        """Raises InvalidRequest for a wrong limit or cursor."""
        mine = select(AliasRow).where(AliasRow.organization_id == organization_id)
        async with self._database.begin() as session:
            page = await fetch_page(
                session, mine, (AliasRow.created_at, AliasRow.id),
                after=after, limit=limit, max_limit=MAX_LIST, order=order,
            )  # fmt: skip
            found = [
                compose(row, await session.get_one(AliasVersion, (row.id, row.version)))
                for row in page.items
            ]
        return Page(tuple(found), page.has_more)

    async def versions(self, organization_id: str, name: str) -> Sequence[AliasVersion]:
        """The newest first, up to MAX_LIST of them. Raises NotFound."""
        async with self._database.begin() as session:
            row, _ = await _present(session, organization_id, name)
            query = select(AliasVersion).where(AliasVersion.alias_id == row.id)
            newest = query.order_by(AliasVersion.version.desc()).limit(MAX_LIST)
            return (await session.scalars(newest)).all()


async def _present(
    session: AsyncSession, organization_id: str, name: str
) -> tuple[AliasRow, AliasVersion]:
    """The alias and its version that holds. Raises NotFound."""
    row = await session.scalar(
        select(AliasRow).where(AliasRow.organization_id == organization_id, AliasRow.name == name)
    )
    if row is None:
        raise NotFound(f"There is no alias {name[:200]!r}.", param="name")
    return row, await session.get_one(AliasVersion, (row.id, row.version))


async def _check(
    session: AsyncSession,
    organization_id: str,
    targets: Sequence[Target],
    shadow: Shadow | None,
    bases: Mapping[str, BaseModel],
) -> None:
    """Raises where these can't be what a name stands for."""
    check_weights(targets)
    models = {f"targets[{index}].model": target.model for index, target in enumerate(targets)}
    if shadow is not None:
        models["shadow.model"] = shadow.model
        if not 0 < shadow.share <= 1:
            raise InvalidRequest(
                f"shadow.share is {shadow.share:g}; it must be above 0 and at most 1.",
                param="shadow.share",
            )
    await check_models(session, organization_id, models, bases)


def _add(
    session: AsyncSession,
    row: AliasRow,
    key_id: str,
    targets: list[dict[str, object]],
    sticky: Sticky,
    shadow: dict[str, object] | None,
    restores: int | None = None,
) -> AliasVersion:
    row.version += 1
    version = AliasVersion(
        alias_id=row.id, version=row.version, targets=targets, sticky=sticky.value, shadow=shadow,
        restores=restores, key_id=key_id,
    )  # fmt: skip
    session.add(version)
    return version


def _plain(targets: Sequence[Target]) -> list[dict[str, object]]:
    return [asdict(target) for target in targets]


def _shadow(shadow: Shadow | None) -> dict[str, object] | None:
    return None if shadow is None else asdict(shadow)


async def present_aliases(session: AsyncSession) -> list[tuple[str, Alias]]:
    """Every organization's aliases, with its id, oldest first."""
    rows = await session.execute(
        select(AliasRow, AliasVersion)
        .join(
            AliasVersion,
            (AliasVersion.alias_id == AliasRow.id) & (AliasVersion.version == AliasRow.version),
        )
        .order_by(AliasRow.created_at, AliasRow.id)
    )
    return [(row.organization_id, compose(row, version)) for row, version in rows]


def compose(row: AliasRow, version: AliasVersion) -> Alias:
    """The alias of two rows."""
    created: datetime = row.created_at
    return Alias(
        id=row.id,
        name=row.name,
        version=version.version,
        targets=tuple(Target(**target) for target in version.targets),
        sticky=Sticky(version.sticky),
        created=int(created.timestamp()),
        shadow=None if version.shadow is None else Shadow(**version.shadow),
    )
