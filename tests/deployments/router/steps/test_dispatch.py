"""Requests that go to the next candidate, and those that do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cluster.catalog.base_models import BaseModels
from cluster.catalog.connection import Protocol
from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from tests.deployments.router.conftest import BUDGIE, Rig
from tests.deployments.router.fake_engine import Behaviour, FakeEngine
from tests.deployments.router.provider import Reply, anthropic, openai

CHAT = {"model": "both", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
WISH = Wish((Target("budgie", 1.0), Target("finch", 1.0)))
BROKEN = {"message": "It broke.", "type": "InternalServerError", "code": 500}


async def engines(rig: Rig, wish: Wish = WISH, **more: Any) -> tuple[FakeEngine, FakeEngine]:
    """Of `budgie` and of its fallback `finch`, both behind the virtual model `both`."""
    finch = replace(BUDGIE, name="finch", application="finch")
    await BaseModels(rig.platform.database).register(finch)
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    models = VirtualModels(rig.platform.database, rig.platform.redis)
    await models.create(project, "both", wish)
    await rig.catalog.refresh()
    return await rig.add_engine(**more), await rig.add_engine("finch")


async def test_the_first_that_answers_is_the_only_one_asked(rig: Rig) -> None:
    first, second = await engines(rig)
    assert (await rig.post(CHAT)).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 0)
    (event,) = rig.meter.events
    assert (event.model, event.base_model) == ("both", "budgie")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("behaviour", [Behaviour(status=500, error=BROKEN), Behaviour(die_after=0)])
async def test_a_fault_goes_to_the_fallback(rig: Rig, behaviour: Behaviour, stream: bool) -> None:
    first, second = await engines(rig)
    first.behaviour = behaviour
    answered = await rig.post({**CHAT, "stream": stream})
    assert answered.status == 200
    assert len(first.requests) >= 1
    assert [request["model"] for request in second.requests] == ["finch"]
    (event,) = rig.meter.events
    assert (event.status, event.base_model, event.error_code) == (200, "finch", None)
    assert event.completion_tokens == 5


async def test_where_no_replica_is_there_the_fallback_answers(rig: Rig) -> None:
    _, second = await engines(rig)
    rig.pool.hear({"finch": rig.pool.models["finch"]})
    assert (await rig.post(CHAT)).status == 200
    assert len(second.requests) == 1


async def test_a_request_that_is_wrong_is_wrong_everywhere(rig: Rig) -> None:
    first, second = await engines(rig)
    first.behaviour = Behaviour(status=400, error={"message": "No.", "code": 400})
    assert (await rig.post(CHAT)).status == 400
    assert len(second.requests) == 0


async def test_where_all_fail_the_first_fault_is_told(rig: Rig) -> None:
    first, second = await engines(rig)
    first.behaviour = Behaviour(status=500, error={**BROKEN, "message": "The first."})
    second.behaviour = Behaviour(status=500, error={**BROKEN, "message": "The second."})
    answered = await rig.post(CHAT)
    assert answered.status >= 500
    assert "The first." in answered.json["error"]["message"]
    (event,) = rig.meter.events
    assert (event.prompt_tokens, event.completion_tokens) == (0, 0)


async def test_a_first_token_that_does_not_come_in_time_is_not_waited_for(rig: Rig) -> None:
    first, second = await engines(rig, replace(WISH, patience=0.05))
    first.behaviour = Behaviour(pace=30.0)
    assert (await rig.post(CHAT)).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert first.aborted == 1, "the engine works for nobody"
    assert not any(occupancy.mine for occupancy in rig.pool._occupancies.values())


async def test_the_last_one_is_waited_for(rig: Rig) -> None:
    first, second = await engines(rig, replace(WISH, patience=0.05))
    first.behaviour, second.behaviour = Behaviour(pace=30.0), Behaviour(pace=0.1, tokens=2)
    assert (await rig.post(CHAT)).status == 200


async def test_in_mid_stream_nobody_takes_over(rig: Rig) -> None:
    first, second = await engines(rig)
    first.behaviour = Behaviour(die_after=2)
    answered = await rig.post(CHAT)
    assert b'"error"' in answered.pieces[-1]
    assert len(second.requests) == 0


@pytest.mark.parametrize("patience", [None, 0.1])
async def test_where_the_first_is_full_the_fallback_answers(
    rig: Rig, patience: float | None
) -> None:
    first, second = await engines(rig, replace(WISH, patience=patience), capacity=1)
    first.behaviour = Behaviour(pace=30.0)
    hanging = asyncio.create_task(rig.post({**CHAT, "model": "budgie"}))
    async with asyncio.timeout(5):
        while not first.running:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        assert (await rig.post(CHAT)).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 1)
    hanging.cancel()


async def test_who_is_patient_waits_for_a_place_in_the_first(rig: Rig) -> None:
    first, second = await engines(rig, replace(WISH, patience=30.0), capacity=1)
    first.behaviour = Behaviour(pace=0.02)
    own = asyncio.create_task(rig.post({**CHAT, "model": "budgie"}))
    async with asyncio.timeout(5):
        while not first.running:
            await asyncio.sleep(0.01)
    assert [(await one).status for one in (own, asyncio.create_task(rig.post(CHAT)))] == [200, 200]
    assert (len(first.requests), len(second.requests)) == (2, 0)


async def test_who_would_wait_beyond_their_patience_does_not_begin_to(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await engines(rig, replace(WISH, patience=30.0), capacity=1)
    first.behaviour = Behaviour(pace=30.0)
    slots = rig.pool.on_news.__self__  # type: ignore[attr-defined]
    hanging = [asyncio.create_task(rig.post({**CHAT, "model": "budgie"})) for _ in range(2)]
    async with asyncio.timeout(5):
        while not (first.running and slots.waiting("budgie")):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(slots._queues["budgie"].pace, "seconds", lambda ahead, now: 40.0)
    async with asyncio.timeout(5):
        assert (await rig.post(CHAT)).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 1)
    for one in hanging:
        one.cancel()


async def test_the_last_one_is_waited_for_though_it_is_full(rig: Rig) -> None:
    first, second = await engines(rig, replace(WISH, targets=WISH.targets[::-1]), capacity=1)
    second.behaviour = Behaviour(status=500, error=BROKEN)
    first.behaviour = Behaviour(pace=0.02)
    own = asyncio.create_task(rig.post({**CHAT, "model": "budgie"}))
    async with asyncio.timeout(5):
        while not first.running:
            await asyncio.sleep(0.01)
    assert (await rig.post(CHAT)).status == 200
    assert (await own).status == 200
    assert len(first.requests) == 2


async def test_where_the_first_is_overloaded_the_fallback_answers(rig: Rig) -> None:
    first, second = await engines(rig, capacity=1)
    first.behaviour = Behaviour(pace=30.0)
    slots = rig.pool.on_news.__self__  # type: ignore[attr-defined]
    slots._most = 1
    hanging = [asyncio.create_task(rig.post({**CHAT, "model": "budgie"})) for _ in range(2)]
    async with asyncio.timeout(5):
        while not (first.running and slots.waiting("budgie")):
            await asyncio.sleep(0.01)
    assert (await rig.post(CHAT)).status == 200
    assert (len(first.requests), len(second.requests)) == (1, 1)
    for one in hanging:
        one.cancel()


async def behind_a_provider(rig: Rig) -> None:
    """The virtual model `both`: a model of the provider `other`, then `budgie`."""
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    wish = Wish((Target("other/x", 1.0), Target("budgie", 1.0)))
    await VirtualModels(rig.platform.database, rig.platform.redis).create(project, "both", wish)
    await rig.catalog.refresh()


async def test_one_that_can_not_answer_the_endpoint_is_passed_over(rig: Rig) -> None:
    await rig.connect(anthropic, Protocol.ANTHROPIC)
    await behind_a_provider(rig)
    body = {"model": "both", "prompt": "Hello"}
    answered = await rig.post(body, "/v1/completions")
    assert answered.status == 503, "only budgie could have answered, and may in a while"
    engine = await rig.add_engine()
    assert (await rig.post(body, "/v1/completions")).status == 200
    assert [request["model"] for request in engine.requests] == ["budgie"]


async def test_a_provider_that_lost_the_model_is_passed_over(rig: Rig) -> None:
    provider = await rig.connect(lambda _: Reply(b"{}", status=404))
    await behind_a_provider(rig)
    engine = await rig.add_engine()
    assert (await rig.post(CHAT)).status == 200
    engine.behaviour = Behaviour(status=400, error={"message": "No.", "code": 400})
    assert (await rig.post(CHAT)).status == 400
    assert (len(provider.asked), len(engine.requests)) == (2, 2)
    alone = await rig.post({**CHAT, "model": "other/x"})
    assert (alone.status, alone.json["error"]["code"]) == (404, "model_not_found")
    provider.answering = openai
    assert (await rig.post(CHAT)).status == 200
    assert len(engine.requests) == 2
