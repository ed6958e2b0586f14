"""Step 8: the truth replaces the reservation, and one usage event leaves."""

from __future__ import annotations

import time

from cluster.catalog.price_book import PriceBook
from cluster.tenancy.admission import Admission
from cluster.usage.event import UsageEvent
from cluster.usage.meter import Meter
from deployments.router.exchange import Exchange


class Settle:
    def __init__(self, admission: Admission, book: PriceBook, meter: Meter) -> None:
        self._admission = admission
        self._book = book
        self._meter = meter

    async def __call__(self, exchange: Exchange) -> None:
        cost = self._cost(exchange)
        if exchange.lease is not None:
            await self._admission.settle(exchange.lease, exchange.usage.total, cost)
        principal, route = exchange.principal, exchange.route
        if principal is None:  # nobody to charge it to
            return
        now = time.perf_counter()
        first = exchange.first_token_at
        self._meter.record(
            UsageEvent(
                request_id=exchange.id,
                organization_id=principal.organization_id,
                project_id=principal.project_id,
                key_id=principal.key_id,
                endpoint=exchange.endpoint,
                # What a caller merely wrote would become a model of their usage.
                model="" if route is None else exchange.model[:255],
                base_model=None if route is None else route.base_name,
                adapter_digest=None if route is None else route.digest,
                stream=exchange.stream,
                status=exchange.status,
                error_code=exchange.error_code,
                prompt_tokens=exchange.usage.prompt,
                completion_tokens=exchange.usage.completion,
                cached_tokens=exchange.usage.cached,
                cost=cost,
                latency_ms=(now - exchange.started) * 1000,
                ttft_ms=None if first is None else (first - exchange.started) * 1000,
                end_user=None if exchange.user is None else exchange.user[:255],
                shadow_of=exchange.shadow_of,
                started_at=exchange.started_at,
            )
        )

    def _cost(self, exchange: Exchange) -> int:
        """At the price of when it started, in nano-dollars."""
        who, route, usage = exchange.principal, exchange.route, exchange.usage
        if who is None or route is None:
            return 0
        names = (exchange.model, route.name, route.base_name)
        price = self._book.find(who.organization_id, names, exchange.started_at)
        return price.cost(usage.prompt, usage.cached, usage.completion)
