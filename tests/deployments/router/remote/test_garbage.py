"""Whatever a caller asks and a provider answers: an answer or an error of ours, never a fault."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalog.connection import Connection, Protocol
from cluster.catalog.route import Remote
from cluster.errors import InvalidRequest, LorikeetError
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange
from deployments.router.remote.chat_request import to_messages
from deployments.router.remote.messages_request import to_chat
from deployments.router.remote.request import passage
from deployments.router.remote.sse import Cutter
from tests.deployments.router.provider import (
    chat_events,
    completion,
    message,
    message_events,
)
from tests.deployments.router.remote import test_chat_request, test_messages_request

JUNK = st.sampled_from(
    [None, True, 0, -1, 2**60, 1.5, "", "text", "tool_use", [], [1], {}, {"type": "text"}, [None]]
)
PLACES = st.lists(st.integers(0, 50), min_size=1, max_size=5)


def spoil(whole: Any, places: list[int], junk: Any) -> Any:
    """`whole` with junk somewhere inside."""
    spoilt = copy.deepcopy(whole)
    at = spoilt
    for index, place in enumerate(places):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[place % len(keys)]
        if index == len(places) - 1 or not (isinstance(at[key], dict | list) and at[key]):
            at[key] = junk
            break
        at = at[key]
    return spoilt


CHAT = {
    "model": "m", "temperature": 1, "stop": ["a"], "user": "ann", "parallel_tool_calls": False,
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]},
        {"role": "assistant", "content": "a", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ],
    "tools": [test_chat_request.TOOL],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
    "reasoning_effort": "low",
}  # fmt: skip
MESSAGES = {
    "model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "s"}],
    "metadata": {"user_id": "ann"}, "tools": [test_messages_request.TOOL],
    "tool_choice": {"type": "tool", "name": "f"}, "output_config": {"effort": "low"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f",
                                           "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                                      "content": [{"type": "text", "text": "r"}]}]},
    ],
}  # fmt: skip


@settings(max_examples=50)
@given(PLACES, JUNK)
def test_requests(places: list[int], junk: Any) -> None:
    """Lists and objects that the router's own parsing has let pass."""
    spoilt = spoil(CHAT, places, junk)
    if isinstance(spoilt["messages"], list) and isinstance(
        spoilt.get("response_format"), dict | None
    ):
        with contextlib.suppress(InvalidRequest):
            assert json.dumps(to_messages(spoilt, "x"))
    spoilt = spoil(MESSAGES, places, junk)
    if isinstance(spoilt["messages"], list) and isinstance(spoilt["metadata"], dict | None):
        with contextlib.suppress(InvalidRequest):
            assert json.dumps(to_chat(spoilt, "x", "max_tokens"))


WAYS = [
    (Protocol.OPENAI, "/v1/chat/completions", completion, chat_events),
    (Protocol.OPENAI, "/v1/messages", completion, chat_events),
    (Protocol.ANTHROPIC, "/v1/messages", message, message_events),
    (Protocol.ANTHROPIC, "/v1/chat/completions", message, message_events),
]


@pytest.mark.parametrize(("protocol", "endpoint", "whole", "stream"), WAYS)
@settings(max_examples=20)
@given(st.data())
def test_answers(protocol: Protocol, endpoint: str, whole: Any, stream: Any, data: Any) -> None:
    exchange = Exchange(endpoint, {"headers": []}, None, None)  # type: ignore[arg-type]
    exchange.document = {"model": "o/x", "messages": [], "max_tokens": 5}
    connection = Connection("c", "org", "o", protocol, "https://a.test", (), 5.0, True, 0)
    way = passage(exchange, Remote("o/x", "c", "x"), connection)
    asked = {"tools": [1]} if data.draw(st.booleans()) else {}
    places, junk = data.draw(PLACES), data.draw(JUNK)
    with contextlib.suppress(LorikeetError):
        made = way.whole(spoil(whole(asked), places, junk))
        assert made is None or orjson.dumps(made)
    asked["stream_options"] = {"include_usage": True}
    pieces = stream(asked)
    wrong = data.draw(st.integers(0, len(pieces) - 1))
    cutter, events = Cutter(), ENDPOINTS[endpoint].dialect.events(exchange)
    with contextlib.suppress(LorikeetError):
        for index, piece in enumerate(pieces):
            for event in cutter.feed(piece):
                if index == wrong and event.data != b"[DONE]":
                    content = spoil(orjson.loads(event.data), places, junk)
                    event = type(event)(event.name, json.dumps(content).encode())
                events.feed(way.feed(event))
        way.done or way.end()
    used = exchange.usage
    for count in (used.prompt, used.completion, used.cached):
        assert isinstance(count, int)
        assert 0 <= count < 2**31
