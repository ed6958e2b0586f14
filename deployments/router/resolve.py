"""Step 4: which model the name means, and what its engine calls it."""

from __future__ import annotations

from cluster.catalog.alias import Caller
from cluster.catalog.catalog import Catalog
from cluster.errors import InvalidRequest
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Resolve:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, exchange: Exchange) -> None:
        who = exchange.principal
        assert who is not None, "authenticate comes before resolve"
        caller = Caller(exchange.id, who.key_id, exchange.user)
        route = await self._catalog.find(who.organization_id, exchange.model, caller)
        if route.kind is not ENDPOINTS[exchange.endpoint].kind:
            raise InvalidRequest(
                f"{exchange.model!r} is of kind {route.kind.value!r} and does not answer "
                f"{exchange.endpoint}.",
                param="model",
                code="unsupported_endpoint",
            )
        exchange.route = route
