"""The end of a request, whatever has been told about it."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from cluster.catalog.price_book import PriceBook
from cluster.store.schema import now
from cluster.store.sql import Database
from cluster.tenancy.admission import Admission
from cluster.tenancy.principal import Limits, Principal
from cluster.usage.event import LARGEST
from deployments.router.exchange import Exchange, Usage
from deployments.router.steps.settle import Settle
from tests.deployments.router.conftest import Recorded

NOWHERE = Database("sqlite+aiosqlite:////nowhere/at/all.db")
WHO = Principal("org-a", "a", "proj-a", "key-a", frozenset(), Limits(max_concurrent=1), "salt")


async def admitted(admission: Admission, usage: Usage) -> Exchange:
    exchange = Exchange("/v1/chat/completions", {"headers": []}, None, None)  # type: ignore[arg-type]
    exchange.principal, exchange.usage, exchange.started_at = WHO, usage, now()
    exchange.lease = await admission.admit(WHO, exchange.id, 1)
    return exchange


@pytest.mark.parametrize(
    ("told", "kept"), [("9", 0), (None, 0), (True, 0), (9.5, 0), (-9, 0), (2**70, LARGEST), (9, 9)]
)
async def test_a_malformed_count_leaves_no_lease_and_a_row(
    redis: Redis, told: Any, kept: int
) -> None:
    admission, meter = Admission(redis, NOWHERE), Recorded()
    settle = Settle(admission, PriceBook(NOWHERE), meter)  # type: ignore[arg-type]
    for usage in (Usage(prompt=told), Usage(completion=told), Usage(cached=told)):
        await settle(await admitted(admission, usage))  # one at a time: each slot came back
    for event in meter.events:
        event.check()
    counts = [(event.prompt_tokens, event.completion_tokens) for event in meter.events]
    assert counts == [(kept, 0), (0, kept), (0, 0)]
    assert meter.events[2].cached_tokens == kept


async def test_a_failing_settlement_does_not_lose_the_row(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission, meter = Admission(redis, NOWHERE), Recorded()
    exchange = await admitted(admission, Usage(3, 4))

    async def fails(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(admission, "settle", fails)
    with pytest.raises(RuntimeError):
        await Settle(admission, PriceBook(NOWHERE), meter)(exchange)  # type: ignore[arg-type]
    assert [event.prompt_tokens for event in meter.events] == [3]
