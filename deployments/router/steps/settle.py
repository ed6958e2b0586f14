"""Step 8: the truth replaces the reservation, and one usage event leaves."""

from __future__ import annotations

import time

from cluster.catalog.price_book import PriceBook
from cluster.tenancy.admission import Admission
from cluster.usage.event import LARGEST, UsageEvent
from cluster.usage.meter import Meter
from deployments.router.exchange import Exchange, Usage


class Settle:
    def __init__(self, admission: Admission, book: PriceBook, meter: Meter) -> None:
        self._admission = admission
        self._book = book
        self._meter = meter

    async def __call__(self, exchange: Exchange) -> None:
        usage = _within(exchange.usage)
        cost = self._cost(exchange, usage)
        try:
            if exchange.lease is not None:
                await self._admission.settle(exchange.lease, usage.total, cost)
        finally:
            self._record(exchange, usage, cost)

    def _record(self, exchange: Exchange, usage: Usage, cost: int) -> None:
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
                prompt_tokens=usage.prompt,
                completion_tokens=usage.completion,
                cached_tokens=usage.cached,
                cost=cost,
                latency_ms=(now - exchange.started) * 1000,
                ttft_ms=None if first is None else (first - exchange.started) * 1000,
                end_user=None if exchange.user is None else exchange.user[:255],
                shadow_of=exchange.shadow_of,
                started_at=exchange.started_at,
            )
        )

    def _cost(self, exchange: Exchange, usage: Usage) -> int:
        """At the price of when it started, in nano-dollars."""
        who, route = exchange.principal, exchange.route
        if who is None or route is None:
            return 0
        names = (exchange.model, route.name, route.base_name)
        price = self._book.find(who.organization_id, names, exchange.started_at)
        return price.cost(usage.prompt, usage.cached, usage.completion)


def _within(usage: Usage) -> Usage:
    """Counts that can be charged and stored, whatever an engine or a provider has told."""
    return Usage(_count(usage.prompt), _count(usage.completion), _count(usage.cached))


def _count(told: object) -> int:
    return min(max(told, 0), LARGEST) if type(told) is int else 0
