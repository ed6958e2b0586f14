"""`/v1/organization/keys`: making, changing, listing and revoking API keys."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster.store.schema import ApiKey
from cluster.tenancy.budget import Budget
from cluster.tenancy.keys import MAX_LIST, KeyFields
from cluster.tenancy.principal import Limits, Principal, Scope
from cluster.usage.spent import spent_of
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.limits import Limit
from deployments.router.dialects.openai.listing import listing
from deployments.router.dialects.openai.moment import Utc
from deployments.router.dialects.openai.money import BudgetRequest, show_budget, show_spent
from deployments.router.services import Services, principal, services

router = APIRouter(tags=["keys"])


class LimitsOfKey(Body):
    """The key's own limits, beside those of its organization. Null lifts one."""

    requests_per_minute: Limit = None
    requests_per_day: Limit = None
    tokens_per_minute: Limit = None
    max_concurrent: Limit = None


class KeyRequest(Body):
    name: str = Field(min_length=1, max_length=255)
    scopes: list[Scope] = Field(default=[Scope.INFERENCE], min_length=1)
    expires_at: Utc | None = None
    models: list[str] | None = None
    """The models that it may name; one that ends in `*` is all that begin so. Null is all."""
    limits: LimitsOfKey = LimitsOfKey()
    budget: BudgetRequest | None = None


class KeyChangeRequest(Body):
    """What is left out stays as it is. A budget is replaced as a whole."""

    name: str = Field("", min_length=1, max_length=255)
    scopes: list[Scope] = Field(default=[], min_length=1)
    expires_at: Utc | None = None
    models: list[str] | None = None
    limits: LimitsOfKey = LimitsOfKey()
    budget: BudgetRequest | None = None

    def fields(self) -> KeyFields:
        given = KeyFields()
        if "name" in self.model_fields_set:
            given["name"] = self.name
        if "scopes" in self.model_fields_set:
            given["scopes"] = self.scopes
        if "expires_at" in self.model_fields_set:
            given["expires_at"] = self.expires_at
        if "models" in self.model_fields_set:
            given["models"] = self.models
        if "limits" in self.model_fields_set:
            given["limits"] = self.limits.model_dump(exclude_unset=True)
        if "budget" in self.model_fields_set:
            given["budget"] = None if self.budget is None else self.budget.terms()
        return given


def render(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "organization.api_key",
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "models": row.models,
        "limits": row.limits or asdict(Limits()),
        "budget": show_budget(Budget.from_json(row.budget)),
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
        who.organization_id,
        who.project_id,
        body.name,
        body.scopes,
        expires_at=body.expires_at,
        models=body.models,
        limits=Limits(**body.limits.model_dump()),
        budget=None if body.budget is None else body.budget.terms(),
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


@router.get("/v1/organization/keys/{key_id}")
async def retrieve_key(
    key_id: str,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """One key, with what is spent of its budget."""
    who.require(Scope.ADMIN)
    row = await at.keys.find(who.organization_id, key_id)
    budget = Budget.from_json(row.budget)
    spent = await spent_of(at.platform.database, who.organization_id, row.id, budget)
    return {**render(row), "budget": show_spent(budget, spent)}


@router.post("/v1/organization/keys/{key_id}")
async def change_key(
    key_id: str,
    body: KeyChangeRequest,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Change a key, on every router within a second. What is left out stays."""
    who.require(Scope.ADMIN)
    return render(await at.keys.change(who.organization_id, key_id, body.fields()))


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
