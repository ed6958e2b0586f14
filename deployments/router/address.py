"""Step 6a: the body as the chosen engine is to see it."""

from __future__ import annotations

import hashlib

from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Address:
    """Puts the engine's name for the model and the organization's cache salt into the body."""

    async def __call__(self, exchange: Exchange) -> None:
        assert exchange.route is not None, "resolve comes before address"
        assert exchange.principal is not None, "authenticate comes before address"
        body = exchange.document
        body["model"] = exchange.route.engine_model
        if not ENDPOINTS[exchange.endpoint].generates:
            return
        # Without the salt one tenant could time another's prompts through the prefix cache.
        salt = exchange.principal.cache_salt + (body.get("cache_salt") or "")
        # As a digest the caller's own may be long, and no error of the engine can show the other.
        body["cache_salt"] = hashlib.sha256(salt.encode()).hexdigest()
