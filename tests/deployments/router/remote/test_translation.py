"""Callers of one protocol, a provider of the other: answers, streams and errors both ways.

`transcripts/` beside the tests of the router has the streams byte for byte.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.catalog.connection import Protocol
from tests.deployments.router.conftest import Rig
from tests.deployments.router.provider import (
    DONE,
    Reply,
    anthropic,
    chunk,
    document,
    events,
    message,
    named,
    openai,
)
from tests.deployments.router.remote.test_providers import by_model, data

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "other/x", "messages": HI}
FUNCTION = {"name": "weather", "parameters": {"type": "object"}}
CALLING = {**CHAT, "tools": [{"type": "function", "function": FUNCTION}]}
MESSAGE = {**CHAT, "max_tokens": 9}
TOOLS = [{"name": "weather", "input_schema": {"type": "object"}}]
PATH = "/v1/messages"


def transcript(name: str, body: bytes) -> None:
    """The only thing that differs from run to run is the time."""
    told = re.sub(rb'"created":\d+', b'"created":1', body)
    assert told == (TRANSCRIPTS / f"{name}.sse").read_bytes()


async def test_a_chat_that_anthropic_answers(rig: Rig) -> None:
    provider = await rig.connect(anthropic, Protocol.ANTHROPIC)
    answer = (await rig.post(CHAT)).json
    assert answer["choices"][0]["message"]["content"] == "Hello!"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    choice = (await rig.post(CALLING)).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert choice["message"]["content"] is None
    transcript("chat-over-messages", (await rig.post({**CHAT, "stream": True})).body)
    wanted = {**CALLING, "stream": True, "stream_options": {"include_usage": True}}
    transcript("chat-over-messages-tools", (await rig.post(wanted)).body)
    counts = {(e.prompt_tokens, e.completion_tokens, e.cached_tokens) for e in rig.meter.events}
    assert counts == {(11, 3, 4)}
    assert {asked.path for asked in provider.asked} == {PATH}
    refused = await rig.post({**CHAT, "n": 2})
    assert (refused.status, refused.json["error"]["param"]) == (400, "n")


async def test_messages_that_openai_answers(rig: Rig) -> None:
    provider = await rig.connect(openai)
    answer = (await rig.post(MESSAGE, PATH)).json
    assert answer["content"] == [{"type": "text", "text": "Hello!"}]
    assert (answer["stop_reason"], answer["type"]) == ("end_turn", "message")
    assert answer["usage"] == {
        "input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 3,
    }  # fmt: skip
    answer = (await rig.post({**MESSAGE, "tools": TOOLS}, PATH)).json
    assert answer["stop_reason"] == "tool_use"
    assert answer["content"][0]["input"] == {"city": "Rome"}
    transcript("messages-over-chat", (await rig.post({**MESSAGE, "stream": True}, PATH)).body)
    calling = {**MESSAGE, "tools": TOOLS, "stream": True}
    transcript("messages-over-chat-tools", (await rig.post(calling, PATH)).body)
    counts = {(e.prompt_tokens, e.completion_tokens, e.cached_tokens) for e in rig.meter.events}
    assert counts == {(11, 3, 4)}
    assert {asked.path for asked in provider.asked} == {"/v1/chat/completions"}
    refused = await rig.post({**MESSAGE, "container": "c"}, PATH)
    assert (refused.status, refused.json["error"]["param"]) == (400, "container")


def block(index: int, **content: Any) -> bytes:
    return named("content_block_start", index=index, content_block=content)


def delta(index: int, kind: str, **what: Any) -> bytes:
    return named("content_block_delta", index=index, delta={"type": kind, **what})


THINKING = [
    named("message_start", message={"id": "m", "model": "c", "usage": {"input_tokens": 5}}),
    block(0, type="thinking", thinking=""),
    delta(0, "thinking_delta", thinking="hm"),
    delta(0, "signature_delta", signature="s"),
    named("content_block_stop", index=0),
    block(1, type="tool_use", id="t1", name="now", input={}),
    named("content_block_stop", index=1),
    named("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 2}),
    named("message_stop"),
]


async def test_thoughts_and_calls_without_arguments(rig: Rig) -> None:
    await rig.connect(lambda asked: events(THINKING), Protocol.ANTHROPIC)
    chunks = data((await rig.post({**CHAT, "stream": True})).body)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert deltas[1] == {"reasoning": "hm"}
    arguments = [call["function"]["arguments"] for d in deltas for call in d.get("tool_calls", [])]
    assert "".join(arguments) == "{}", "clients read them as JSON"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert (rig.meter.events[0].prompt_tokens, rig.meter.events[0].completion_tokens) == (5, 2)


async def test_thoughts_and_several_calls(rig: Rig) -> None:
    first, second = ({"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}
                     for n in (0, 1))  # fmt: skip
    pieces = [
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk({"content": "a"}),
        chunk({"tool_calls": [first, second]}),
        chunk({}, "stop"),  # some never say tool_calls
    ]
    await rig.connect(lambda asked: events(pieces))
    found = data((await rig.post({**MESSAGE, "stream": True}, PATH)).body)
    kinds = [each["content_block"]["type"] for each in found if "content_block" in each]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    assert [e["index"] for e in found if e["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-1] == {"type": "message_stop"}
    assert found[-2]["usage"] == {"output_tokens": 4}, "estimated where nobody counts"
    (used,) = rig.meter.events
    assert used.prompt_tokens > 0
    assert used.completion_tokens == 4


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
async def test_failures_are_told_in_the_callers_dialect(rig: Rig, path: str) -> None:
    told = {"type": "overloaded_error", "message": "busy"}
    if path == PATH:
        begun = chunk({"content": "a"})
        broken = b'data: {"error": {"message": "busy", "type": "overloaded_error"}}\n\n'
    else:
        begun, broken = THINKING[0] + THINKING[2], named("error", error=told)
    replies = {
        "busy": document({"type": "error", "error": told}, status=529),
        "broken": events([begun, broken], pace=0.01),
        "cut": events([begun]),
        "html": Reply(b"<html>", kind="text/html"),
        "empty": document({}),
    }
    protocol = Protocol.OPENAI if path == PATH else Protocol.ANTHROPIC
    await rig.connect(by_model(replies), protocol)
    for model, status in {"busy": 503, "broken": 200, "cut": 200, "html": 502}.items():
        body = {**MESSAGE, "model": f"other/{model}", "stream": True}
        answered = await rig.post(body, path)
        assert answered.status == status
        last = data(answered.body)[-1] if status == 200 else answered.json
        if path == PATH:
            assert last["type"] == "error"
            expected = "api_error" if model == "html" else "overloaded_error"
            assert last["error"]["type"] == expected
        else:
            expected = "upstream_error" if model == "html" else "service_unavailable"
            assert last["error"]["code"] == expected
    assert (await rig.post({**MESSAGE, "model": "other/empty"}, path)).status == 502


async def test_answers_that_are_not_quite_right(rig: Rig) -> None:
    def calls(arguments: str, finish: str) -> Reply:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        said = {"content": None, "tool_calls": [call]}
        return document({"choices": [{"message": said, "finish_reason": finish}]})

    def with_call(**call: Any) -> list[bytes]:
        return [chunk({"tool_calls": [call]}), chunk({}, "stop"), DONE]

    refusal = {"message": {"refusal": "I won't."}, "finish_reason": "stop"}
    stopped = {"message": {"content": "a"}, "finish_reason": "stop", "stop_reason": "END"}
    replies = {
        "cut": calls('{"a": ', "length"),
        "wrong": calls('{"a": ', "stop"),
        "refusal": document({"choices": [refusal]}),
        "stopped": document({"choices": [stopped]}),
        "no number": events(with_call(id="c", function={"name": "f", "arguments": "{}"})),
        "no function": events(with_call(id="c")),
    }
    await rig.connect(by_model(replies))
    answers = {
        model: await rig.post(
            {**MESSAGE, "model": f"other/{model}", "stream": model.startswith("no ")}, PATH
        )
        for model in replies
    }
    assert answers["cut"].json["content"][0]["input"] == {}
    assert answers["cut"].json["stop_reason"] == "max_tokens"
    assert answers["wrong"].status == 502
    assert answers["refusal"].json["content"][0]["text"] == "I won't."
    assert answers["refusal"].json["stop_reason"] == "refusal"
    assert answers["stopped"].json["stop_sequence"] == "END"
    assert b'"tool_use"' in answers["no number"].body
    assert answers["no function"].status == 502


async def test_a_whole_message_without_counts_is_estimated(rig: Rig) -> None:
    uncounted = {**message({}), "usage": None}
    await rig.connect(lambda asked: document(uncounted), Protocol.ANTHROPIC)
    answer = (await rig.post(CHAT)).json
    assert answer["usage"] is None
    (used,) = rig.meter.events
    assert (used.prompt_tokens > 0, used.completion_tokens) == (True, 2)
