"""`/v1/organization/prices`: what models cost, from some moment on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster.catalog.price import Price
from cluster.catalog.prices import MAX_LIST
from cluster.store.schema import PriceRow
from cluster.tenancy.principal import Principal, Scope
from cluster.usage.money import dollars
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.listing import listing
from deployments.router.dialects.openai.moment import Utc
from deployments.router.dialects.openai.money import Usd, UsdOrNull
from deployments.router.services import Services, principal, services

router = APIRouter(prefix="/v1/organization/prices", tags=["prices"])


class PriceRequest(Body):
    """In US dollars per million tokens."""

    model: str = Field(min_length=1, max_length=255)
    """A base model, an adapter, an alias, or `provider/model`."""
    input: Usd
    cached_input: UsdOrNull = None
    """Of prompt tokens that came from the cache; as `input` where it is left out."""
    output: Usd = 0
    valid_from: Utc | None = None
    """Null is now."""


def render(row: PriceRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "organization.price",
        "model": row.model,
        "input": dollars(row.input),
        "cached_input": dollars(row.cached_input),
        "output": dollars(row.output),
        "valid_from": _unix(row.valid_from),
        "created_at": _unix(row.created_at),
    }


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())


@router.post("", status_code=201)
async def set_price(
    body: PriceRequest,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Set a model's price from now or from a later moment on. What has been used stays paid."""
    who.require(Scope.ADMIN)
    cached = body.input if body.cached_input is None else body.cached_input
    price = Price(body.input, cached, body.output)
    row = await at.prices.set(who.organization_id, who.key_id, body.model, price, body.valid_from)
    return render(row)


@router.get("")
async def list_prices(
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
    model: str | None = None,
    after: str | None = None,
    limit: int = MAX_LIST,
) -> dict[str, Any]:
    """The latest first: those that are to come, those that are valid, and those that were."""
    who.require(Scope.ADMIN)
    page = await at.prices.list(who.organization_id, model=model, after=after, limit=limit)
    return listing(page, render)


@router.delete("/{price_id}")
async def remove_price(
    price_id: str,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Take back a price that is still to come."""
    who.require(Scope.ADMIN)
    await at.prices.remove(who.organization_id, price_id)
    return {"id": price_id, "object": "organization.price", "deleted": True}
