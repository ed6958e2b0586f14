"""Step 2: whose request it is."""

from __future__ import annotations

from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.principal import Scope
from deployments.router.exchange import Exchange


class Authenticate:
    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, exchange: Exchange) -> None:
        principal = await self._authenticator.authenticate(exchange.authorization)
        principal.require(Scope.INFERENCE)
        exchange.principal = principal
