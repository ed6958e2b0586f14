"""The router from its start to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.store.redis import USAGE_STREAM
from cluster.usage.event import UsageEvent
from deployments.router import app
from tests.deployments.router.conftest import Rig
from tests.deployments.router.fake_engine import Behaviour
from tests.deployments.router.steps.test_shadow import CHAT, engines


async def test_a_copy_that_runs_when_the_router_ends_leaves_its_usage(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = await engines(rig)
    second.behaviour = Behaviour(pace=60.0)

    async def opened() -> Any:
        return rig.platform

    monkeypatch.setattr(app, "open_platform", opened)
    monkeypatch.setattr(app, "transport_of", lambda kind: rig.transport)
    ingress = app.Ingress()
    async with ingress._lifespan(ingress.management):
        rig.pipelines = ingress._pipelines
        ingress.management.state.lorikeet.pool.wait = 10.0
        assert (await rig.post(CHAT)).status == 200
        async with asyncio.timeout(10):
            while not second.running:
                await asyncio.sleep(0.01)
    entries = await rig.platform.redis.xrange(USAGE_STREAM)
    own, copy = (UsageEvent.from_json(entry[b"event"]) for _, entry in entries)
    assert (copy.shadow_of, copy.base_model) == (own.request_id, "finch")
