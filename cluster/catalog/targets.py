"""What a name may stand for: models of one kind that the organization can name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.base_models import BaseModel, ModelKind
from cluster.catalog.connections import compose
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.split import Target
from cluster.errors import InvalidRequest, ModelNotFound
from cluster.store.schema import Adapter, AliasRow, AliasVersion, ConnectionRow

MAX_TARGETS = 16


def check_weights(targets: Sequence[Target]) -> None:
    """Raises InvalidRequest where nobody could be led to any of the targets."""
    models = [target.model for target in targets]
    if not 1 <= len(models) <= MAX_TARGETS:
        raise InvalidRequest(
            f"targets has {len(models)} members; allowed are 1 to {MAX_TARGETS}.", param="targets"
        )
    if len(set(models)) < len(models):
        raise InvalidRequest("targets names a model twice.", param="targets")
    if not any(target.weight > 0 for target in targets):
        raise InvalidRequest("One of the targets must have a weight above 0.", param="targets")


async def check_models(
    session: AsyncSession,
    organization_id: str,
    models: Mapping[str, str],
    bases: Mapping[str, BaseModel],
    *,
    aliases: bool = False,
) -> None:
    """Raises ModelNotFound for the first of `models` that can't be named, InvalidRequest where
    they are of several kinds.

    `models` are by the field that names each; `aliases`: whether they may be aliases too.
    """
    rows = await session.execute(
        select(Adapter.name, Adapter.base_model).where(
            Adapter.organization_id == organization_id,
            Adapter.name.in_(models.values()),
            Adapter.state == AdapterState.PUBLISHED,
        )
    )
    found = {row.name: row.base_model for row in rows}
    if aliases:
        found |= await _behind(session, organization_id, models)
    kinds: set[ModelKind] = set()
    meant = {field: found.get(name, name) for field, name in models.items()}
    offered = await _offered(session, organization_id, set(meant.values()) - bases.keys())
    for field, name in meant.items():
        if name in offered:
            kinds.add(ModelKind.LLM)
        elif name in bases:
            kinds.add(bases[name].kind)
        else:
            raise ModelNotFound(models[field], param=field)
    if len(kinds) > 1:
        raise InvalidRequest(
            "targets mixes models of different kinds, which answer different endpoints.",
            param="targets",
        )


async def _offered(session: AsyncSession, organization_id: str, names: Collection[str]) -> set[str]:
    """Those of the names that are a connection's models."""
    providers = {name.partition("/")[0] for name in names if "/" in name}
    if not providers:
        return set()
    rows = await session.scalars(
        select(ConnectionRow).where(
            ConnectionRow.organization_id == organization_id, ConnectionRow.name.in_(providers)
        )
    )
    connections = {row.name: compose(row) for row in rows}
    return {
        name
        for name in names
        if (provider := name.partition("/")[0]) in connections
        and connections[provider].offers(name.partition("/")[2])
    }


async def _behind(
    session: AsyncSession, organization_id: str, models: Mapping[str, str]
) -> dict[str, str]:
    """One model behind each of `models` that is an alias. All of an alias's are of one kind."""
    rows = await session.execute(
        select(AliasRow.name, AliasVersion.targets, Adapter.base_model)
        .join(
            AliasVersion,
            (AliasVersion.alias_id == AliasRow.id) & (AliasVersion.version == AliasRow.version),
        )
        .join(
            Adapter,
            (Adapter.organization_id == organization_id)
            & (Adapter.name == AliasVersion.targets[0]["model"].as_string())
            & (Adapter.state == AdapterState.PUBLISHED),
            isouter=True,
        )
        .where(AliasRow.organization_id == organization_id, AliasRow.name.in_(models.values()))
    )
    return {row.name: row.base_model or row.targets[0]["model"] for row in rows}
