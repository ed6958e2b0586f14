"""`/v1/connections`: other providers, whose models answer as `name/model`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster.catalog.connection import Protocol, check_headers, check_secret
from cluster.catalog.connections import (
    MAX_LIST,
    Change,
    compose,
)
from cluster.errors import InvalidRequest
from cluster.store.page import Order
from cluster.store.schema import ConnectionRow
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai import errors
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.listing import listing
from deployments.router.remote.faults import AUTHENTICATION
from deployments.router.remote.providers import Probe
from deployments.router.services import Services, administrator, reader, services

router = APIRouter(tags=["connections"])

Reading = Annotated[Principal, Depends(reader)]
Changing = Annotated[Principal, Depends(administrator)]
At = Annotated[Services, Depends(services)]
Secret = Annotated[Any, Field(json_schema_extra={"type": "string", "writeOnly": True})]
"""Of any type as far as pydantic is concerned, whose errors would show it."""


class ConnectionChange(Body):
    """What is left out stays as it is. The values of `headers` are never shown again."""

    base_url: str | None = None
    headers: Annotated[
        dict[str, Any] | None,
        Field(json_schema_extra={"additionalProperties": {"type": "string"}, "writeOnly": True}),
    ] = None
    models: list[str] | None = None
    """Those that are offered; an empty list offers whatever the provider has."""
    timeout: float | None = Field(None, allow_inf_nan=False)
    """Seconds without a byte after which the provider is taken for gone."""
    enabled: bool | None = None

    def change(self) -> Change:
        return Change(
            base_url=self.base_url,
            headers=None if self.headers is None else check_headers(self.headers),
            models=self.models,
            timeout=self.timeout,
            enabled=self.enabled,
        )


class NewConnection(ConnectionChange):
    name: str
    protocol: Protocol = Protocol.OPENAI
    secret: Secret = None


class Rotation(Body):
    secret: Secret
    verify: bool = True
    """Keep the old one where the provider refuses the new one."""


@router.post("/v1/connections", status_code=201)
async def create_connection(body: NewConnection, who: Changing, at: At) -> dict[str, Any]:
    """Reach a provider's models as `name/model`. The secret is stored encrypted, never shown."""
    row = await at.connections.create(
        who.organization_id,
        who.key_id,
        body.name,
        body.protocol,
        None if body.secret is None else check_secret(body.secret),
        body.change(),
    )
    return await _changed(row, at)


@router.get("/v1/connections")
async def list_connections(
    who: Reading,
    at: At,
    after: str | None = None,
    limit: int = MAX_LIST,
    order: Order = Order.ASCENDING,
) -> dict[str, Any]:
    """Your connections, without their secrets."""
    page = await at.connections.page(who.organization_id, after=after, limit=limit, order=order)
    return listing(page, _render)


@router.get("/v1/connections/{name}")
async def retrieve_connection(name: str, who: Reading, at: At) -> dict[str, Any]:
    return _render(await at.connections.get(who.organization_id, name))


@router.post("/v1/connections/{name}")
async def change_connection(
    name: str, body: ConnectionChange, who: Changing, at: At
) -> dict[str, Any]:
    """From the next request on. Another host in `base_url` takes the secret and headers away."""
    row = await at.connections.change(who.organization_id, who.key_id, name, body.change())
    return await _changed(row, at)


@router.post("/v1/connections/{name}/secret")
async def rotate_secret(name: str, body: Rotation, who: Changing, at: At) -> dict[str, Any]:
    """Another secret from the next request on, once the provider has taken it."""
    secret = check_secret(body.secret)
    if body.verify:
        row = await at.connections.get(who.organization_id, name)
        probe = await at.providers.probe(at.connections.trial(row, secret))
        if probe.error is not None and probe.error.code == AUTHENTICATION:
            raise InvalidRequest(
                f"The provider {name!r} refused this secret; the one before stays.",
                param="secret",
                code=AUTHENTICATION,
            )
        if probe.error is not None:
            raise probe.error
    row = await at.connections.rotate(who.organization_id, who.key_id, name, secret)
    return await _changed(row, at)


@router.post("/v1/connections/{name}/test")
async def test_connection(name: str, who: Changing, at: At) -> dict[str, Any]:
    """Ask the provider for its models, with the connection's own credentials. Costs nothing."""
    row = await at.connections.get(who.organization_id, name)
    return _render_probe(row, await at.providers.probe(compose(row)))


@router.delete("/v1/connections/{name}")
async def delete_connection(name: str, who: Changing, at: At) -> dict[str, Any]:
    """Its models are unknown from the next request on, and its secret is gone."""
    await at.connections.remove(who.organization_id, name)
    await at.catalog.catch_up()
    return {"id": name, "object": "connection", "deleted": True}


async def _changed(row: ConnectionRow, at: Services) -> dict[str, Any]:
    # Here at once; the other routers hear of it in milliseconds.
    await at.catalog.catch_up()
    return _render(row)


def _render(row: ConnectionRow) -> dict[str, Any]:
    changed = row.secret_changed_at
    return {
        "id": row.id,
        "object": "connection",
        "name": row.name,
        "protocol": row.protocol,
        "base_url": row.base_url,
        "has_secret": row.secret is not None,
        "headers": row.header_names,
        "models": row.models,
        "timeout": row.timeout,
        "enabled": row.enabled,
        "changed_by": row.key_id,
        "created_at": int(row.created_at.timestamp()),
        "updated_at": int(row.updated_at.timestamp()),
        "secret_changed_at": None if changed is None else int(changed.timestamp()),
    }


def _render_probe(row: ConnectionRow, probe: Probe) -> dict[str, Any]:
    offered = probe.models
    return {
        "object": "connection.test",
        "name": row.name,
        "ok": probe.error is None,
        "latency_ms": round(probe.seconds * 1000, 1),
        "models": None if offered is None else list(offered),
        "unknown_models": [
            model for model in row.models if offered is not None and model not in offered
        ],
        "error": None if probe.error is None else errors.body(probe.error)["error"],
    }
