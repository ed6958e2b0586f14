"""Step 6a: the body as the chosen engine is to see it."""

from __future__ import annotations

from deployments.router.exchange import Exchange


class Address:
    """Puts the engine's name for the model and the organization's cache salt into the body."""

    async def __call__(self, exchange: Exchange) -> None:
        assert exchange.route is not None, "resolve comes before address"
        assert exchange.principal is not None, "authenticate comes before address"
        body = exchange.document
        body["model"] = exchange.route.engine_model
        # Without the salt one tenant could time another's prompts through the prefix cache.
        own = body.get("cache_salt") or ""
        body["cache_salt"] = f"{exchange.principal.cache_salt}{own}"
