"""What a virtual model's parameters come to, by endpoint and by who answers."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog.connection import Protocol
from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from tests.deployments.router.conftest import Rig
from tests.deployments.router.provider import anthropic, document, openai

ASKED: dict[str, Any] = {"model": "preset", "messages": [{"role": "user", "content": "hi"}]}


async def preset(rig: Rig, target: str, **more: Any) -> None:
    """The virtual model `preset` for `target`."""
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    models = VirtualModels(rig.platform.database, rig.platform.redis)
    await models.create(project, "preset", Wish((Target(target, 1.0),), **more))
    await rig.catalog.refresh()


async def test_where_no_replica_tells_the_fields_all_parameters_hold(rig: Rig) -> None:
    provider = await rig.connect(openai)
    await preset(rig, "other/x", defaults={"temperature": 0.1}, fixed={"max_tokens": 7})
    assert (await rig.post({**ASKED, "max_tokens": 5000})).status == 200
    asked = provider.asked[0].json
    assert (asked["temperature"], asked["max_tokens"]) == (0.1, 7)


async def test_a_count_has_nothing_that_only_an_answer_has(rig: Rig) -> None:
    provider = await rig.connect(
        lambda _: document({"input_tokens": 3}), protocol=Protocol.ANTHROPIC
    )
    await preset(rig, "other/x", fixed={"temperature": 0.1})
    assert (await rig.post(ASKED, "/v1/messages/count_tokens")).status == 200
    assert "temperature" not in provider.asked[0].json
    provider.answering = anthropic
    assert (await rig.post({**ASKED, "max_tokens": 5}, "/v1/messages")).status == 200
    assert provider.asked[1].json["temperature"] == 0.1


@pytest.mark.parametrize("engine", [False, True])
async def test_the_fields_of_embeddings_need_no_replica(rig: Rig, engine: bool) -> None:
    provider = await rig.connect(
        lambda _: document({"object": "list", "data": [], "usage": {"prompt_tokens": 1}})
    )
    if engine:
        await rig.add_engine()
    await preset(rig, "other/x", fixed={"dimensions": 256, "temperature": 0.1})
    given = {"model": "preset", "input": "a", "dimensions": 4}
    assert (await rig.post(given, "/v1/embeddings")).status == 200
    assert provider.asked[0].json == {"model": "x", "input": "a", "dimensions": 256}


@pytest.mark.parametrize(
    ("path", "given", "bounds"),
    [
        ("/v1/chat/completions", {"max_completion_tokens": 5000}, {"max_tokens": 7}),
        ("/v1/responses", {"max_output_tokens": 5000, "store": False}, {"max_output_tokens": 7}),
        ("/v1/messages", {}, {"max_tokens": 7}),
    ],
)
async def test_no_other_name_gets_around_a_fixed_length(
    rig: Rig, path: str, given: dict[str, Any], bounds: dict[str, int]
) -> None:
    fields = frozenset({"model", "messages", "max_tokens", "max_completion_tokens"})
    engine = await rig.add_engine(fields={"/v1/chat/completions": fields})
    await preset(rig, "budgie", fixed={"max_tokens": 7})
    body = {"input": "hi", **given} if path == "/v1/responses" else {**ASKED, **given}
    await rig.post({**body, "model": "preset"}, path)
    asked = engine.requests[0]
    assert {name: value for name, value in asked.items() if name.startswith("max_")} == bounds
