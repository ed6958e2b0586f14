"""The body as the chosen engine is to see it."""

from __future__ import annotations

import hashlib
from typing import Any

from cluster.catalog.route import Route
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


def addressed(exchange: Exchange, route: Route) -> dict[str, Any]:
    """With the engine's name for the model, and the organization's cache salt."""
    assert exchange.principal is not None, "authenticate comes before dispatch"
    body = {**exchange.document, "model": route.engine_model}
    if body.get("service_tier") == "fast":
        body["service_tier"] = "priority"  # OpenAI's newer word for it, which engines do not know
    if ENDPOINTS[exchange.endpoint].generates:
        # Without the salt one tenant could time another's prompts through the prefix cache.
        salt = exchange.principal.cache_salt + (body.get("cache_salt") or "")
        # As a digest the caller's own may be long, and no error of the engine can show the other.
        body["cache_salt"] = hashlib.sha256(salt.encode()).hexdigest()
    return body
