"""`/healthz`, `/readyz` and `/status`: is it alive, can it answer, what runs where."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from ray.serve.schema import ApplicationStatus

from cluster.catalog.adapter_name import engine_name
from cluster.tenancy.principal import Scope
from deployments.router.dialects.openai.adapters import render
from deployments.router.services import Services, principal, services

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(at: Annotated[Services, Depends(services)]) -> JSONResponse:
    """200 once every configured model can answer, 503 with what is missing before that."""
    missing = await _missing(at)
    if missing:
        return JSONResponse(
            {"status": "starting", "waiting_for": missing}, 503, {"retry-after": "2"}
        )
    return JSONResponse({"status": "ready"})


async def _missing(at: Services) -> list[str]:
    status = await at.serve.read()
    missing = [
        name
        for name, application in status.applications.items()
        if application.status is not ApplicationStatus.RUNNING
    ]
    live = {model for model, replicas in at.pool.models.items() if replicas}
    known = {base.application: base for base in at.catalog.bases()}
    for name in status.applications:
        base = known.get(name)
        if base is not None and base.name not in live and name not in missing:
            missing.append(name)
    return missing


@router.get("/status")
async def status(
    at: Annotated[Services, Depends(services)], who: Annotated[Any, Depends(principal)]
) -> dict[str, Any]:
    """Applications, replicas with their processes, adapters with their states. Admin only."""
    who.require(Scope.ADMIN)
    seen = await at.serve.read()
    adapters = await at.platform.registry.list(who.organization_id)
    own = {engine_name(row.name, row.digest) for row in adapters}
    return {
        "ready": not await _missing(at),
        "applications": [
            {
                "name": name,
                "status": application.status.value,
                "message": application.message,
                "deployments": [
                    {
                        "name": deployment_name,
                        "status": deployment.status.value,
                        "message": deployment.message,
                        "replicas": deployment.replica_states,
                    }
                    for deployment_name, deployment in application.deployments.items()
                ],
            }
            for name, application in seen.applications.items()
        ],
        "models": [
            {"name": base.name, "kind": base.kind, "context_length": base.context_length}
            for base in at.catalog.bases()
        ],
        "replicas": [
            {
                "model": replica.model,
                "replica": replica.id,
                "pid": replica.pid,
                "actor_id": replica.actor_id,
                "node": replica.node,
                "places": replica.places,
                "adapters": sorted(replica.adapters & own),
                "failures": {n: why for n, why in replica.failures.items() if n in own},
                "running": replica.running,
                "waiting": replica.waiting,
            }
            for replicas in at.pool.models.values()
            for replica in replicas
        ],
        "adapters": [render(row) for row in adapters],
    }
