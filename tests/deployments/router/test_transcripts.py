"""Answers byte for byte, as the callers' parsers meet them.

`transcripts/NAME.engine` is what vLLM sent for budgie, recorded; the other files are what a caller
gets of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.router.conftest import Rig
from tests.deployments.router.fake_engine import Behaviour

TRANSCRIPTS = Path(__file__).parent / "transcripts"
MESSAGES = [{"role": "user", "content": "hi"}]
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": MESSAGES}),
    "text": ("/v1/completions", {"prompt": "hi"}),
    "messages": ("/v1/messages", {"messages": MESSAGES, "max_tokens": 64}),
}
ASKED = {"stream_options": {"include_usage": True}}
DEAD = {"message": "EngineCore encountered an issue.", "type": "x", "param": None, "code": 500}


def recorded(name: str) -> tuple[bytes, ...]:
    """The engine's events, one by one, or its answer as a whole."""
    whole = (TRANSCRIPTS / f"{name}.engine").read_bytes()
    return tuple(event + b"\n\n" for event in whole.split(b"\n\n")[:-1]) or (whole,)


def asking(name: str, **more: Any) -> tuple[dict[str, Any], str]:
    path, body = BODIES[name.partition("-")[0]]
    return {"model": "budgie", **body, **more}, path


@pytest.mark.parametrize(
    ("engine", "more", "caller"),
    [
        ("chat-plain", {}, "chat-plain"),
        ("chat-plain", ASKED, "chat-asked"),
        ("chat-tools", {}, "chat-tools"),
        ("chat-several", ASKED, "chat-several"),
        ("chat-logprobs", {}, "chat-logprobs"),
        ("text-plain", {}, "text-plain"),
        ("text-plain", ASKED, "text-asked"),
        ("messages-plain", {}, "messages-plain"),
        ("messages-tools", {}, "messages-tools"),
    ],
)
async def test_a_stream(rig: Rig, engine: str, more: dict[str, Any], caller: str) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=recorded(engine))
    answered = await rig.post(*asking(engine, stream=True, **more))
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answered.body == (TRANSCRIPTS / f"{caller}.sse").read_bytes()


@pytest.mark.parametrize("name", ["chat-whole", "text-whole", "messages-whole"])
async def test_an_answer_that_comes_at_once_is_the_engines(rig: Rig, name: str) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=recorded(name))
    answered = await rig.post(*asking(name))
    assert answered.headers["content-type"] == "application/json"
    assert answered.body == recorded(name)[0]
    assert int(answered.headers["content-length"]) == len(answered.body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["chat", "text", "messages"])
async def test_an_error_before_the_first_token(rig: Rig, name: str, stream: bool) -> None:
    (await rig.add_engine()).behaviour = Behaviour(status=500, error=DEAD)
    answered = await rig.post(*asking(name, stream=stream))
    assert (answered.status, answered.headers["content-type"]) == (500, "application/json")
    assert answered.body == (TRANSCRIPTS / f"{name}-refused.json").read_bytes()


@pytest.mark.parametrize("name", ["chat", "text", "messages"])
async def test_an_error_that_is_a_streams_first_event(rig: Rig, name: str) -> None:
    event = b"event: error\n" if name == "messages" else b""
    event += b"data: " + json.dumps({"error": DEAD}, separators=(",", ":")).encode() + b"\n\n"
    (await rig.add_engine()).behaviour = Behaviour(script=(event,))
    answered = await rig.post(*asking(name, stream=True))
    assert (answered.status, answered.headers["content-type"]) == (500, "application/json")
    assert answered.body == (TRANSCRIPTS / f"{name}-refused.json").read_bytes()


@pytest.mark.parametrize("name", ["chat-tools", "text-plain", "messages-tools"])
async def test_an_error_in_mid_stream(rig: Rig, name: str) -> None:
    """The engine tells it: an event in the caller's dialect, and not a word of the end."""
    event = b"event: error\n" if name.startswith("messages") else b""
    event += b"data: " + json.dumps({"error": DEAD}, separators=(",", ":")).encode() + b"\n\n"
    (await rig.add_engine()).behaviour = Behaviour(script=(*recorded(name)[:3], event))
    answered = await rig.post(*asking(name, stream=True))
    assert answered.status == 200
    assert answered.body == (TRANSCRIPTS / f"{name}-failed.sse").read_bytes()


@pytest.mark.parametrize("name", ["chat-tools", "text-plain", "messages-tools"])
async def test_a_replica_that_is_lost_in_mid_stream(rig: Rig, name: str) -> None:
    behaviour = Behaviour(script=recorded(name), pace=0.02, die_after=3)
    (await rig.add_engine()).behaviour = behaviour
    answered = await rig.post(*asking(name, stream=True))
    assert answered.status == 200
    assert answered.body == (TRANSCRIPTS / f"{name}-lost.sse").read_bytes()


@pytest.mark.parametrize("name", ["chat-plain", "text-plain", "messages-plain"])
async def test_a_caller_who_leaves_got_whole_events(rig: Rig, name: str) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(script=recorded(name), pace=0.03)
    answered = await rig.post(*asking(name, stream=True), leave_after=2)
    whole = (TRANSCRIPTS / f"{name}.sse").read_bytes()
    assert answered.body.endswith(b"\n\n")
    assert whole.startswith(answered.body)
    assert len(answered.body) < len(whole)
    (used,) = rig.meter.events
    assert (used.status, used.error_code) == (499, "client_gone")
