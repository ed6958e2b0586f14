"""`/v1/organization/keys`: making, listing and revoking API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, AwareDatetime, Field

from cluster.store.schema import ApiKey
from cluster.tenancy.keys import MAX_LIST
from cluster.tenancy.principal import Principal, Scope
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import Services, principal, services

router = APIRouter(tags=["keys"])


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it must be in the years 1 to 9999") from None


class KeyRequest(Body):
    name: str = Field(min_length=1, max_length=255)
    scopes: list[Scope] = Field(default=[Scope.INFERENCE], min_length=1)
    expires_at: Annotated[AwareDatetime, AfterValidator(_utc)] | None = None


def render(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "organization.api_key",
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_at": _unix(row.created_at),
        "expires_at": _unix(row.expires_at),
        "revoked_at": _unix(row.revoked_at),
        "last_used_at": _unix(row.last_used_at),
    }


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


@router.post("/v1/organization/keys", status_code=201)
async def create_key(
    body: KeyRequest,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Make a key. `key` is in this answer and never again."""
    who.require(Scope.ADMIN)
    made = await at.keys.create(
        who.organization_id, who.project_id, body.name, body.scopes, expires_at=body.expires_at
    )
    return {**render(made.row), "key": made.secret}


@router.get("/v1/organization/keys")
async def list_keys(
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
    after: str | None = None,
    limit: int = MAX_LIST,
) -> dict[str, Any]:
    """The newest first, the revoked ones too."""
    who.require(Scope.ADMIN)
    page = await at.keys.list(who.organization_id, after=after, limit=limit)
    return listing(page, render)


@router.delete("/v1/organization/keys/{key_id}")
async def revoke_key(
    key_id: str,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """End a key, on every router within a second."""
    who.require(Scope.ADMIN)
    row = await at.keys.revoke(who.organization_id, key_id)
    return {"id": row.id, "object": "organization.api_key", "deleted": True}
