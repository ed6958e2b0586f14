"""Copies of requests to a shadow."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cluster.catalog.alias import Shadow
from cluster.catalog.aliases import Aliases
from cluster.catalog.base_models import BaseModels
from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from tests.deployments.router.conftest import BUDGIE, Rig
from tests.deployments.router.fake_engine import Behaviour, FakeEngine

CHAT = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}], "user": "u1"}


async def engines(rig: Rig, share: float = 1.0) -> tuple[FakeEngine, FakeEngine]:
    """Of `budgie`, behind the alias `bot`, and of its shadow `finch`."""
    finch = replace(BUDGIE, name="finch", application="finch")
    await BaseModels(rig.platform.database).register(finch)
    aliases = Aliases(rig.platform.database, rig.platform.redis)
    targets = [Target("budgie", 1.0)]
    await aliases.create(
        rig.tenant.organization_id, "key", "bot", targets, shadow=Shadow("finch", share)
    )
    await rig.catalog.refresh()
    return await rig.add_engine(), await rig.add_engine("finch")


async def recorded(rig: Rig, events: int) -> None:
    """Wait for so many usage events."""
    async with asyncio.timeout(10):
        while len(rig.meter.events) < events:
            await asyncio.sleep(0.005)


async def test_the_shadow_gets_a_copy_and_the_caller_only_their_answer(rig: Rig) -> None:
    first, second = await engines(rig)
    for stream in (False, True):
        answered = await rig.post({**CHAT, "stream": stream})
        assert answered.status == 200
        assert b"finch" not in answered.body
    await recorded(rig, 4)
    assert [request["model"] for request in first.requests] == ["budgie"] * 2
    assert [request["model"] for request in second.requests] == ["finch"] * 2
    assert [request["messages"] for request in second.requests] == [CHAT["messages"]] * 2
    own = {event.request_id: event for event in rig.meter.events if event.shadow_of is None}
    copies = [event for event in rig.meter.events if event.shadow_of is not None]
    assert {copy.shadow_of for copy in copies} == own.keys()
    for copy in copies:
        assert (copy.model, copy.status, copy.completion_tokens) == ("finch", 200, 5)
        assert (copy.end_user, copy.key_id) == ("u1", next(iter(own.values())).key_id)


async def test_a_shadow_that_fails_is_nobodys_failure(rig: Rig) -> None:
    _, second = await engines(rig)
    second.behaviour = Behaviour(status=500, error={"message": "No.", "code": 500})
    assert (await rig.post(CHAT)).status == 200
    await recorded(rig, 2)
    (copy,) = [event for event in rig.meter.events if event.shadow_of is not None]
    assert copy.status >= 500
    assert copy.completion_tokens == 0


async def test_a_caller_who_leaves_takes_no_copy_along(rig: Rig) -> None:
    first, second = await engines(rig)
    first.behaviour = Behaviour(pace=0.05, tokens=1000)
    second.behaviour = Behaviour(pace=0.001, tokens=20)
    await rig.post({**CHAT, "stream": True}, leave_after=1)
    await recorded(rig, 2)
    by_status = {event.status: event for event in rig.meter.events}
    assert by_status.keys() == {499, 200}
    assert by_status[200].shadow_of == by_status[499].request_id
    assert by_status[200].completion_tokens == 20


async def test_a_copy_has_as_long_as_the_request(rig: Rig) -> None:
    _, second = await engines(rig)
    second.behaviour = Behaviour(pace=60.0)
    assert (await rig.post({**CHAT, "timeout": 0.2})).status == 200
    await recorded(rig, 2)
    copy = rig.meter.events[1]
    assert (copy.model, copy.status, copy.error_code) == ("finch", 504, "timeout")
    assert copy.latency_ms < 5000
    assert not any(occupancy.mine for occupancy in rig.pool._occupancies.values())


async def test_no_more_copies_run_than_are_allowed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.router.steps.shadow.MOST", 2)
    _, second = await engines(rig)
    second.behaviour = Behaviour(pace=60.0)
    for _ in range(4):
        assert (await rig.post(CHAT)).status == 200
    second.behaviour = Behaviour()
    second.hang_up()
    await recorded(rig, 6)
    copies = [event for event in rig.meter.events if event.shadow_of is not None]
    assert len(copies) == 2
    assert (await rig.post(CHAT)).status == 200
    await recorded(rig, 8)


async def test_a_virtual_model_keeps_the_shadow_of_the_alias_that_it_asks_first(rig: Rig) -> None:
    _, second = await engines(rig)
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    models = VirtualModels(rig.platform.database, rig.platform.redis)
    bot, finch = Target("bot", 1.0), Target("finch", 1.0)
    await models.create(project, "shadowed", Wish((bot, finch), fixed={"max_tokens": 7}))
    await models.create(project, "plain", Wish((finch, bot)))
    await rig.catalog.refresh()
    assert (await rig.post({**CHAT, "model": "plain"})).status == 200
    assert (await rig.post({**CHAT, "model": "shadowed"})).status == 200
    await recorded(rig, 3)
    (copy,) = [event for event in rig.meter.events if event.shadow_of is not None]
    assert copy.model == "finch"
    assert [request.get("max_tokens") for request in second.requests] == [None, 7]


async def test_a_count_is_not_copied(rig: Rig) -> None:
    first, second = await engines(rig)
    body = {"model": "bot", "messages": CHAT["messages"]}
    assert (await rig.post(body, "/v1/messages/count_tokens")).status == 200
    assert (await rig.post(CHAT)).status == 200
    await recorded(rig, 3)
    (copy,) = [event for event in rig.meter.events if event.shadow_of is not None]
    (chat,) = [event for event in rig.meter.events if event.completion_tokens and event != copy]
    assert copy.shadow_of == chat.request_id
    assert (len(first.requests), len(second.requests)) == (2, 1)
