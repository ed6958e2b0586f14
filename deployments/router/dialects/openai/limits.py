"""`/v1/organization/limits`: what an organization's requests may take together."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import PlainValidator

from cluster.tenancy.principal import LARGEST, Limits, Principal, Scope
from deployments.router.dialects.openai.body import Body
from deployments.router.services import Services, principal, services

router = APIRouter(prefix="/v1/organization/limits", tags=["limits"])


def _limit(value: object) -> object:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError(f"it must be a whole number of 0 to {LARGEST}, or null for no limit")


# One validator for both: pydantic's own would not tell that null is taken.
Limit = Annotated[int | None, PlainValidator(_limit, json_schema_input_type=int | None)]


class LimitsRequest(Body):
    """A limit that is left out stays as it is; null lifts it."""

    requests_per_minute: Limit = None
    requests_per_day: Limit = None
    tokens_per_minute: Limit = None
    max_concurrent: Limit = None


@router.get("")
async def read_limits(
    who: Annotated[Principal, Depends(principal)], at: Annotated[Services, Depends(services)]
) -> dict[str, Any]:
    """The limits of your organization; null is no limit."""
    who.require(Scope.ADMIN)
    return _render(await at.plans.of(who.organization_id))


@router.post("")
async def set_limits(
    body: LimitsRequest,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Change limits, on every router within a second. What is left out stays; null lifts."""
    who.require(Scope.ADMIN)
    changes = body.model_dump(exclude_unset=True)
    return _render(await at.plans.change(who.organization_id, changes))


def _render(limits: Limits) -> dict[str, Any]:
    return {"object": "organization.limits", **asdict(limits)}
