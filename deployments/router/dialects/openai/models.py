"""`/v1/models`: the catalogue, and taking an adapter out of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from cluster.catalog.route import Remote
from cluster.catalog.snapshot import Listing
from cluster.errors import InvalidRequest
from cluster.tenancy.principal import Principal, Scope
from deployments.router.services import Services, principal, services

router = APIRouter(tags=["models"])


def _render(listing: Listing) -> dict[str, Any]:
    return {
        "id": listing.id,
        "object": "model",
        "created": listing.created,
        "owned_by": listing.owned_by,
        "parent": listing.parent,
        "max_model_len": listing.context_length,
    }


@router.get("/v1/models")
async def list_models(
    who: Annotated[Principal, Depends(principal)], at: Annotated[Services, Depends(services)]
) -> dict[str, Any]:
    """Every name that can answer this key: base models, your adapters, aliases, virtual models."""
    lines = at.catalog.listings(who.organization_id, who.project_id)
    return {"object": "list", "data": [_render(line) for line in lines if who.may_use(line.id)]}


@router.get("/v1/models/{model:path}")
async def retrieve_model(
    model: str,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """One model. Its id may hold `/` and `:`."""
    who.require_model(model)
    lines = {line.id: line for line in at.catalog.listings(who.organization_id, who.project_id)}
    if model not in lines:
        found = at.catalog.resolve(who.organization_id, model).candidates[0]
        model = found.name
        if isinstance(found, Remote) and model not in lines:
            # A connection that offers whatever its provider has lists nothing.
            owner = model.partition("/")[0]
            return _render(Listing(model, 0, owner, None, None))
    return _render(lines[model])


@router.delete("/v1/models/{model:path}")
async def delete_model(
    model: str,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Retire an adapter: its name is unknown from the next request on."""
    who.require(Scope.TRAIN)
    if any(model in (base.name, *base.aliases) for base in at.catalog.bases()):
        raise InvalidRequest(
            f"{model!r} is a base model: remove it from serve_config.yaml instead.", param="model"
        )
    await at.platform.registry.retire(who.organization_id, model)
    await at.catalog.catch_up()
    return {"id": model, "object": "model", "deleted": True}
