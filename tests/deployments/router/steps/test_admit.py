"""What a key may name and spend, through the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.price import Price
from cluster.catalog.prices import Prices
from cluster.tenancy.budget import Period, Terms
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import Limits, Scope
from cluster.usage.money import NANOS
from tests.deployments.router.conftest import Answered, Rig

CHAT = {"model": "budgie", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
BYTES = len(json.dumps(CHAT))
"""As many tokens are reserved for the prompt: nothing tells how large the vocabulary is."""
DEAR = Price(input=100_000 * NANOS, cached_input=0, output=NANOS)
"""A tenth of a dollar for a token of the prompt."""
Post = Callable[..., Awaitable[Answered]]


@pytest.fixture
def price(rig: Rig) -> Callable[..., Awaitable[None]]:
    async def set_price(model: str, given: Price) -> None:
        prices = Prices(rig.platform.database, rig.platform.redis)
        await prices.set(rig.tenant.organization_id, "key", model, given)
        await rig.book.refresh()

    return set_price


async def poster(rig: Rig, **fields: Any) -> Post:
    """Posts with a key that has these fields."""
    keys = Keys(rig.platform.database, rig.platform.redis)
    made = await keys.create(
        rig.tenant.organization_id, rig.tenant.project_id, "k", {Scope.INFERENCE}, **fields
    )

    async def post(body: Any = CHAT, path: str = "/v1/chat/completions") -> Answered:
        authorization = {"authorization": f"Bearer {made.secret}"}
        return await rig.post(body, path, headers=authorization)

    return post


async def test_a_model_that_the_key_may_not_name_is_forbidden(rig: Rig) -> None:
    engine = await rig.add_engine()
    post = await poster(rig, models=["bud*"])
    assert (await post()).status == 200
    for name in ("nobody", "ft:x"):  # whether or not there is such a model
        refused = await post({**CHAT, "model": name})
        assert refused.status == 403
        error = refused.json["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert f"does not have access to the model {name!r}" in error["message"]
    assert len(engine.requests) == 1
    assert (await (await poster(rig, models=["other"]))()).status == 403


async def test_each_request_has_its_cost(rig: Rig, price: Any) -> None:
    """Of 7 tokens, 3 of them from the cache, and an answer of 5."""
    await rig.add_engine()
    await rig.post(CHAT)
    await price("budgie", Price(1_000_000, 500_000, 2_000_000))
    await rig.post(CHAT)
    assert [event.cost for event in rig.meter.events] == [0, 4 * 1 + 2 + 5 * 2]


async def test_a_spent_budget_is_told_as_openai_tells_it(rig: Rig, price: Any) -> None:
    engine = await rig.add_engine()
    await price("budgie", DEAR)
    post = await poster(rig, budget=Terms(Period.MONTH, usd=(BYTES + 1) * NANOS // 10))
    first = await post()
    assert first.status == 200
    second = await post()
    assert second.status == 429
    error = second.json["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert error["details"]["of"] == "key"
    assert error["details"]["spent"] == "0.400005"
    assert int(second.headers["retry-after"]) > 0
    assert len(engine.requests) == 1
    assert (await rig.post(CHAT)).status == 200  # another key's money is its own


async def test_what_is_free_needs_no_money(rig: Rig) -> None:
    await rig.add_engine()
    post = await poster(rig, budget=Terms(Period.TOTAL, usd=0))
    assert (await post()).status == 200


async def test_a_failed_request_gives_its_reservation_back(rig: Rig) -> None:
    post = await poster(rig, budget=Terms(Period.TOTAL, tokens=BYTES + 20))
    for _ in range(3):
        assert (await post()).status == 503  # there is no engine
    await rig.add_engine()
    assert (await post()).status == 200
    refused = await post()
    assert refused.status == 429
    assert refused.json["error"]["details"] == {
        "limit": "budget_tokens", "of": "key", "period": "total", "budget": BYTES + 20, "spent": 12,
        "reserved": 0, "needed": BYTES + 10, "resets_at": None,
    }  # fmt: skip
    assert "retry-after" not in refused.headers


async def test_the_headers_show_the_tighter_of_key_and_organization(rig: Rig) -> None:
    await rig.add_engine()
    plans = Plans(rig.platform.database, rig.platform.redis)
    organization = {"requests_per_minute": 9, "tokens_per_minute": 5000}
    await plans.change(rig.tenant.organization_id, organization)
    post = await poster(rig, limits=Limits(requests_per_minute=2, tokens_per_minute=90_000))
    answered = await post()
    assert answered.headers["x-ratelimit-limit-requests"] == "2"
    assert answered.headers["x-ratelimit-limit-tokens"] == "5000"
    await post()
    refused = await post()
    assert (refused.status, refused.json["error"]["details"]["of"]) == (429, "key")


async def test_a_reservation_is_never_below_the_truth(rig: Rig) -> None:
    await rig.add_engine()
    plans = Plans(rig.platform.database, rig.platform.redis)
    await plans.change(rig.tenant.organization_id, {"tokens_per_minute": 100_000})
    text = "7" * 3000
    body = {**CHAT, "messages": [{"role": "user", "content": text}]}
    answered = await rig.post(body)
    assert int(answered.headers["x-ratelimit-remaining-tokens"]) <= 100_000 - 3010
    small = await poster(rig, limits=Limits(tokens_per_minute=3009))
    assert (await small(body)).status == 429


async def test_a_query_is_reserved_for_with_each_document(rig: Rig) -> None:
    ranker = BaseModel("ranker", ModelKind.RERANKER, "ranker", "ranker", 512, vocabulary=100_000)
    await BaseModels(rig.platform.database).register(ranker)
    await rig.catalog.refresh()
    small = await poster(rig, limits=Limits(tokens_per_minute=3000))
    # Three bytes, and as many tokens at most, of each character of the query for each document.
    body = {"model": "ranker", "query": "\u4f60" * 20, "documents": ["a"] * 50}
    assert (await small(body, "/v1/rerank")).status == 429
    one = await small({**body, "documents": ["a"]}, "/v1/rerank")
    assert one.status == 503, "it fits, and there is no replica"
