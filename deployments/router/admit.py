"""Step 5: within the plan's limits, or the exact time to come again."""

from __future__ import annotations

from cluster.tenancy.admission import Admission
from deployments.router.exchange import Exchange


class Admit:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, exchange: Exchange) -> None:
        assert exchange.principal is not None, "authenticate comes before admit"
        exchange.lease = await self._admission.admit(
            exchange.principal, exchange.id, exchange.reserve
        )
