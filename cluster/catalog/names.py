"""A name is one thing's: a base model's, an adapter's, an alias's or a virtual model's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.base_models import BaseModel, BaseModels
from cluster.catalog.lifecycle import AdapterState
from cluster.errors import Conflict, InvalidRequest
from cluster.store.schema import Adapter, AliasRow, VirtualModelRow
from cluster.store.sql import Database, take_turns

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
"""Without `/`: it parts a provider from its model, and the paths of the API."""


def check_name(name: str, what: str) -> None:
    """Raises InvalidRequest where `name` can't be that of `what`."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} can't be {what}: 1 to 200 letters, digits and ._:- , beginning with a "
            "letter or digit.",
            param="name",
        )


async def served(database: Database) -> Mapping[str, BaseModel]:
    """The base models by name, the names of the configuration's aliases among them."""
    models = await BaseModels(database).list()
    aliases = {alias: model for model in models for alias in model.aliases}
    return aliases | {model.name: model for model in models}


async def claim(session: AsyncSession, organization_id: str, name: str) -> None:
    """Be the only one, until the transaction ends, who gives this name away or changes it."""
    await take_turns(session, f"name {organization_id} {name}")


async def require_no_alias(session: AsyncSession, organization_id: str, name: str) -> None:
    """Raises Conflict."""
    query = select(AliasRow.id).where(
        AliasRow.organization_id == organization_id, AliasRow.name == name
    )
    if await session.scalar(query) is not None:
        raise Conflict(f"{name!r} is the name of an alias.", param="name")


async def require_no_virtual_model(session: AsyncSession, organization_id: str, name: str) -> None:
    """Raises Conflict, whichever project's it is."""
    query = select(VirtualModelRow.id).where(
        VirtualModelRow.organization_id == organization_id, VirtualModelRow.name == name
    )
    if await session.scalar(query.limit(1)) is not None:
        raise Conflict(f"{name!r} is the name of a virtual model.", param="name")


def holder(organization_id: str, name: str) -> Select[Adapter]:
    """The adapter that has the name: one that is retired or has failed gave it back."""
    return select(Adapter).where(
        Adapter.organization_id == organization_id,
        Adapter.name == name,
        Adapter.state.not_in((AdapterState.RETIRED, AdapterState.FAILED)),
    )


async def require_no_adapter(session: AsyncSession, organization_id: str, name: str) -> None:
    """Raises Conflict."""
    if await session.scalar(holder(organization_id, name)) is not None:
        raise Conflict(f"{name!r} is the name of an adapter.", param="name")


def require_no_base(bases: Mapping[str, BaseModel], name: str) -> None:
    """Raises Conflict."""
    if name in bases:
        raise Conflict(f"{name!r} is the name of a base model.", param="name")
