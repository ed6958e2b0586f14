"""A caller says until when the answer is worth having, and how urgent it is."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.exchange import Exchange
from deployments.router.steps.urgency import Urgency
from deployments.router.waiting.tier import Tier
from tests.deployments.router.conftest import FIELDS, Rig
from tests.deployments.router.fake_engine import Behaviour
from tests.deployments.router.test_pipeline import CHAT, happens

CHAT_PATH = "/v1/chat/completions"


@pytest.mark.parametrize("by", ["field", "header"])
async def test_a_request_ends_at_its_time(rig: Rig, by: str) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(tokens=1000, pace=0.01)
    body: dict[str, Any] = {**CHAT, **({"timeout": 0.2} if by == "field" else {"timeout": None})}
    headers: dict[str, str | None] = {} if by == "field" else {"x-request-timeout": "0.2"}
    plain = await rig.post(body, headers=headers)
    assert (plain.status, plain.json["error"]["code"]) == (504, "timeout")
    assert "0.2 s" in plain.json["error"]["message"]
    streamed = await rig.post({**body, "stream": True}, headers=headers)
    assert streamed.status == 200
    assert json.loads(streamed.body.split(b"\n\n")[-2][6:])["error"]["code"] == "timeout"
    await happens(lambda: not engine.running)
    assert engine.aborted == 2
    assert all("timeout" not in request for request in engine.requests)
    assert [event.error_code for event in rig.meter.events] == ["timeout"] * 2


async def test_who_ends_it_themselves_pays_for_the_prompt(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(tokens=1000, pace=0.01)
    body = {**CHAT, "timeout": 0.1}
    assert (await rig.post(body)).status == 504
    (event,) = rig.meter.events
    assert event.prompt_tokens == len(json.dumps(body)) // BYTES_PER_TOKEN
    usual = _slots(rig)._usual.cost(rig.tenant.organization_id, 10**6)
    assert usual == event.prompt_tokens, "and waits for the next turn accordingly"


async def test_an_answer_in_time_is_an_answer(rig: Rig) -> None:
    await rig.add_engine()
    answered = await rig.post({**CHAT, "timeout": 30}, headers={"x-request-timeout": "0.001e4"})
    assert answered.status == 200


async def test_the_shorter_of_two_times_counts(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(tokens=1000, pace=0.01)
    answered = await rig.post({**CHAT, "timeout": 60}, headers={"x-request-timeout": "0.1"})
    assert answered.status == 504


async def test_a_time_that_is_none_is_refused(rig: Rig) -> None:
    engine = await rig.add_engine()
    for value in (0, -1, True, "5", [], 601, 10**30, 1e-400, {"s": 1}):
        answered = await rig.post({**CHAT, "timeout": value})
        error = answered.json["error"]
        assert (answered.status, error["param"]) == (400, "timeout"), value
        assert "at most 600" in error["message"]
    for value in ("soon", "", "0", "-3", "nan", "inf", "601"):
        answered = await rig.post(CHAT, headers={"x-request-timeout": value})
        error = answered.json["error"]
        assert (answered.status, error["param"]) == (400, "x-request-timeout"), value
    assert engine.requests == []


async def full(rig: Rig) -> asyncio.Task[Any]:
    """One slot, and a request in it that does not end."""
    engine = await rig.add_engine(capacity=1)
    engine.behaviour = Behaviour(tokens=100_000, pace=0.01)
    request = asyncio.create_task(rig.post({**CHAT, "stream": True}, leave_after=10**6))
    await happens(lambda: engine.running == 1)
    return request


async def test_a_request_that_waits_for_its_turn_ends_at_its_time(rig: Rig) -> None:
    running = await full(rig)
    answered = await rig.post({**CHAT, "timeout": 0.1})
    assert (answered.status, answered.json["error"]["code"]) == (504, "timeout")
    running.cancel()


async def test_nothing_waits_longer_for_its_turn_than_the_sdk_does(rig: Rig) -> None:
    running = await full(rig)
    for header in ("x-stainless-timeout", "x-stainless-read-timeout"):
        assert (await rig.post(CHAT, headers={header: "0.1"})).status == 504
    assert len(rig.engines[0].requests) == 1
    running.cancel()


async def test_an_answer_that_has_begun_is_not_bound_by_the_sdks_patience(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(tokens=20, pace=0.01)
    headers: dict[str, str | None] = {"x-stainless-read-timeout": "0.05"}
    answered = await rig.post({**CHAT, "stream": True}, headers=headers)
    assert answered.body.endswith(b"[DONE]\n\n")
    headers = {"x-stainless-timeout": "never"}
    assert (await rig.post(CHAT, headers=headers)).status == 200, "it is not the caller's mistake"


async def test_a_caller_who_leaves_the_queue_is_accounted_and_forgotten(rig: Rig) -> None:
    running = await full(rig)
    waiting = asyncio.create_task(rig.post(CHAT))
    slots = _slots(rig)
    await happens(lambda: slots.waiting("budgie") == 1)
    waiting.cancel()
    await happens(lambda: bool(rig.meter.events))
    assert slots.waiting("budgie") == 0
    (event,) = rig.meter.events
    assert (event.status, event.prompt_tokens) == (499, 0)
    running.cancel()


async def test_a_full_queue_is_a_503_with_a_time_to_come_again(rig: Rig) -> None:
    running = await full(rig)
    slots = _slots(rig)
    slots._most = 1
    waiting = asyncio.create_task(rig.post(CHAT))
    await happens(lambda: slots.waiting("budgie") == 1)
    answered = await rig.post(CHAT)
    assert (answered.status, answered.json["error"]["code"]) == (503, "overloaded")
    assert int(answered.headers["retry-after"]) >= 1
    assert not waiting.done()
    waiting.cancel()
    running.cancel()


def _slots(rig: Rig) -> Any:
    """Those of the pipelines, which hear of news from the pool."""
    return rig.pool.on_news.__self__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "hurried", "tier"),
    [
        (None, "", Tier.DEFAULT),
        ("auto", "*", Tier.DEFAULT),
        ("flex", "", Tier.FLEX),
        ("priority", "", Tier.DEFAULT),
        ("priority", "org-other", Tier.DEFAULT),
        ("priority", "org-own", Tier.PRIORITY),
        ("fast", "*", Tier.PRIORITY),
    ],
)
async def test_the_tier_is_as_asked_for_and_allowed(
    asked: str | None, hurried: str, tier: Tier
) -> None:
    exchange = Exchange(CHAT_PATH, {}, None, None)  # type: ignore[arg-type]
    exchange.principal = SimpleNamespace(organization_id="org-own")  # type: ignore[assignment]
    exchange.document = {"service_tier": asked}
    await Urgency(frozenset({hurried}))(exchange)
    assert exchange.tier is tier


async def test_another_tier_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIELDS, CHAT_PATH, FIELDS[CHAT_PATH] | {"service_tier"})
    await rig.add_engine()
    for asked in ("slow", 1, ["flex"], ""):
        answered = await rig.post({**CHAT, "service_tier": asked})
        assert (answered.status, answered.json["error"]["param"]) == (400, "service_tier"), asked
        assert "auto, default, flex, priority, fast" in answered.json["error"]["message"]


async def test_the_engine_knows_the_word_that_it_is_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIELDS, CHAT_PATH, FIELDS[CHAT_PATH] | {"service_tier"})
    engine = await rig.add_engine()
    assert (await rig.post({**CHAT, "service_tier": "fast"})).status == 200
    assert engine.requests[0]["service_tier"] == "priority"
