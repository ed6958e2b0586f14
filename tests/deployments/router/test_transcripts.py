"""Streams byte for byte, as the callers' parsers meet them: `transcripts/` has what is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deployments.router.conftest import Rig
from tests.deployments.router.fake_engine import Behaviour

TRANSCRIPTS = Path(__file__).parent / "transcripts"
CHAT = {"model": "budgie", "messages": [{"role": "user", "content": "hi"}], "stream": True}
WHOLE = Behaviour(tokens=2)


@pytest.mark.parametrize(
    ("name", "more", "behaviour"),
    [
        ("whole", {}, WHOLE),
        ("with-usage", {"stream_options": {"include_usage": True}}, WHOLE),
        ("broken", {}, Behaviour(tokens=2, pace=0.02, die_after=1)),
    ],
)
async def test_a_stream(rig: Rig, name: str, more: dict[str, Any], behaviour: Behaviour) -> None:
    (await rig.add_engine()).behaviour = behaviour
    answered = await rig.post({**CHAT, **more})
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answered.body == (TRANSCRIPTS / f"{name}.sse").read_bytes()
