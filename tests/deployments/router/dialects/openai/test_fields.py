"""Which fields a request may have, by who may be asked."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from tests.deployments.router.conftest import FIELDS, Rig
from tests.deployments.router.provider import openai

CHAT: dict[str, Any] = {"model": "both", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("field", "code"),
    [("tempratur", "unknown_parameter"), ("functions", "unsupported_parameter")],
)
async def test_a_field_must_be_one_of_ours_where_a_model_of_ours_may_take_over(
    rig: Rig, field: str, code: str
) -> None:
    provider = await rig.connect(openai)
    path = "/v1/chat/completions"
    engine = await rig.add_engine(fields={path: FIELDS[path] | {"functions"}})
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    wish = Wish((Target("other/x", 1.0), Target("budgie", 1.0)))
    await VirtualModels(rig.platform.database, rig.platform.redis).create(project, "both", wish)
    await rig.catalog.refresh()
    refused = await rig.post({**CHAT, field: [{}]})
    assert (refused.status, refused.json["error"]["code"]) == (400, code)
    assert (provider.asked, engine.requests) == ([], [])
    assert (await rig.post({**CHAT, "model": "other/x", field: [{}]})).status == 200
