"""`/v1/aliases`: names that stand for weighted others, moved in one call."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster.catalog.alias import Alias, Shadow
from cluster.catalog.aliases import MAX_LIST, As
from cluster.catalog.caller import Sticky
from cluster.catalog.split import Target
from cluster.catalog.targets import MAX_TARGETS
from cluster.store.page import Order
from cluster.store.schema import AliasVersion
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.listing import listing
from deployments.router.dialects.openai.target import TargetBody, targets_of
from deployments.router.services import Services, principal, services, trainer

router = APIRouter(tags=["aliases"])

Asking = Annotated[Principal, Depends(principal)]
Changing = Annotated[Principal, Depends(trainer)]
At = Annotated[Services, Depends(services)]


class ShadowBody(Body):
    """Who gets a copy of which share of the requests, unseen by the callers."""

    model: str = Field(min_length=1, max_length=255)
    share: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)


class NewAlias(Body):
    name: str
    targets: list[TargetBody] = Field(min_length=1, max_length=MAX_TARGETS)
    sticky: Sticky = Sticky.NONE
    shadow: ShadowBody | None = None


class Change(Body):
    targets: list[TargetBody] = Field(min_length=1, max_length=MAX_TARGETS)
    sticky: Sticky | None = None
    shadow: ShadowBody | None = None
    """Stays as it was unless the body has it; null ends it."""
    version: int | None = Field(None, ge=1)
    """Refused where another one holds meanwhile."""


class Promotion(Body):
    model: str = Field(min_length=1, max_length=255)


class Rollback(Body):
    version: int | None = Field(None, ge=1)


@router.post("/v1/aliases", status_code=201)
async def create_alias(body: NewAlias, who: Changing, at: At) -> dict[str, Any]:
    """Name a set of models and adapters; `sticky` keeps a key's or a user's requests together."""
    alias = await at.aliases.create(
        who.organization_id,
        who.key_id,
        body.name,
        targets_of(body.targets),
        body.sticky,
        _shadow(body.shadow),
    )
    return await _changed(alias, at)


@router.get("/v1/aliases")
async def list_aliases(
    who: Asking,
    at: At,
    after: str | None = None,
    limit: int = MAX_LIST,
    order: Order = Order.ASCENDING,
) -> dict[str, Any]:
    """Your aliases with what they stand for now."""
    page = await at.aliases.page(who.organization_id, after=after, limit=limit, order=order)
    return listing(page, _render)


@router.get("/v1/aliases/{name}")
async def retrieve_alias(name: str, who: Asking, at: At) -> dict[str, Any]:
    return _render(await at.aliases.get(who.organization_id, name))


@router.post("/v1/aliases/{name}")
async def change_alias(name: str, body: Change, who: Changing, at: At) -> dict[str, Any]:
    """Other targets or weights: a new version, from the next request on."""
    alias = await at.aliases.change(
        who.organization_id,
        who.key_id,
        name,
        targets_of(body.targets),
        body.sticky or As.BEFORE,
        _shadow(body.shadow) if "shadow" in body.model_fields_set else As.BEFORE,
        version=body.version,
    )
    return await _changed(alias, at)


@router.post("/v1/aliases/{name}/promote")
async def promote(name: str, body: Promotion, who: Changing, at: At) -> dict[str, Any]:
    """Give one model everything, and end the shadow."""
    alone = [Target(body.model, 1.0)]
    alias = await at.aliases.change(who.organization_id, who.key_id, name, alone, shadow=None)
    return await _changed(alias, at)


@router.post("/v1/aliases/{name}/rollback")
async def roll_back(
    name: str, who: Changing, at: At, body: Rollback | None = None
) -> dict[str, Any]:
    """Bring back the version before this one, or the one that is named."""
    to = None if body is None else body.version
    return await _changed(await at.aliases.roll_back(who.organization_id, who.key_id, name, to), at)


@router.get("/v1/aliases/{name}/versions")
async def list_versions(name: str, who: Asking, at: At) -> dict[str, Any]:
    """What it stood for, the newest first."""
    versions = await at.aliases.versions(who.organization_id, name)
    return {"object": "list", "data": [_render_version(version) for version in versions]}


@router.delete("/v1/aliases/{name}")
async def delete_alias(name: str, who: Changing, at: At) -> dict[str, Any]:
    """The name is unknown from the next request on. What it stood for stays."""
    await at.aliases.remove(who.organization_id, name)
    await at.catalog.catch_up()
    return {"id": name, "object": "alias", "deleted": True}


async def _changed(alias: Alias, at: Services) -> dict[str, Any]:
    # Here at once; the other routers hear of it in milliseconds.
    await at.catalog.catch_up()
    return _render(alias)


def _shadow(given: ShadowBody | None) -> Shadow | None:
    return None if given is None else Shadow(given.model, given.share)


def _render(alias: Alias) -> dict[str, Any]:
    return {
        "id": alias.id,
        "object": "alias",
        "name": alias.name,
        "version": alias.version,
        "targets": [{"model": t.model, "weight": t.weight} for t in alias.targets],
        "sticky": alias.sticky.value,
        "shadow": None if alias.shadow is None else asdict(alias.shadow),
        "created_at": alias.created,
    }


def _render_version(row: AliasVersion) -> dict[str, Any]:
    return {
        "object": "alias.version",
        "version": row.version,
        "targets": row.targets,
        "sticky": row.sticky,
        "shadow": row.shadow,
        "restores": row.restores,
        "key_id": row.key_id,
        "created_at": int(row.created_at.timestamp()),
    }
