"""`/v1/organization/budget`: what all keys of an organization may spend together."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from cluster.tenancy.principal import Principal, Scope
from cluster.usage.spent import spent_of
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.money import BudgetRequest, show_spent
from deployments.router.services import Services, principal, services

router = APIRouter(prefix="/v1/organization/budget", tags=["limits"])


class OrganizationBudget(Body):
    budget: BudgetRequest | None
    """Null lifts it."""


@router.get("")
async def read_budget(
    who: Annotated[Principal, Depends(principal)], at: Annotated[Services, Depends(services)]
) -> dict[str, Any]:
    """The budget and what is spent of it; null is none."""
    who.require(Scope.ADMIN)
    return await _render(who, at)


@router.post("")
async def set_budget(
    body: OrganizationBudget,
    who: Annotated[Principal, Depends(principal)],
    at: Annotated[Services, Depends(services)],
) -> dict[str, Any]:
    """Set the budget or lift it, on every router within a second."""
    who.require(Scope.ADMIN)
    terms = None if body.budget is None else body.budget.terms()
    await at.plans.set_budget(who.organization_id, terms)
    return await _render(who, at)


async def _render(who: Principal, at: Services) -> dict[str, Any]:
    budget = await at.plans.budget(who.organization_id)
    spent = await spent_of(at.platform.database, who.organization_id, None, budget)
    return {"object": "organization.budget", "budget": show_spent(budget, spent)}
