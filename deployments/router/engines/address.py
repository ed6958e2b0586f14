"""The body as the chosen engine is to see it."""

from __future__ import annotations

import hashlib
from typing import Any

from cluster.catalog.route import Route
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange

GREEDY = 1e-5
"""Temperatures below it are 0 to the engine."""


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
        if body.get("n", 1) != 1:
            _likeliest(body)
    return body


def _likeliest(body: dict[str, Any]) -> None:
    """Have the engine make several answers without chance, which it refuses under that name."""
    temperature = body.get("temperature")
    chance = not isinstance(temperature, int | float) or not 0 <= temperature < GREEDY
    if not chance and not body.get("use_beam_search"):
        body["temperature"], body["top_k"] = 1.0, 1
