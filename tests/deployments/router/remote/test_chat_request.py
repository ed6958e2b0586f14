"""A chat completion's request for Anthropic's API."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import InvalidRequest
from deployments.router.remote.chat_request import DEFAULT_MAX_TOKENS, to_messages

HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
}
TOLD = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_whole_conversation() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    empty = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    made = to_messages(
        {
            "model": "other/claude",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "developer", "content": [text("And short.")]},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "Wait.", "tool_calls": [call, empty]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "c2", "content": ""},
                {"role": "user", "content": [text("So?"), text("")]},
                {"role": "assistant", "content": None},
            ],
            "tools": [TOOL],
        },
        "claude",
    )
    assert made == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "system": [text("Be kind."), text("And short.")],
        "messages": [
            {"role": "user", "content": [text("hi")]},
            {
                "role": "assistant",
                "content": [
                    text("Wait."),
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [text("sunny")]},
                    {"type": "tool_result", "tool_use_id": "c2"},
                    text("So?"),
                ],
            },
        ],
        "tools": [TOLD],
    }


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,BBBB"}},
        {**text("a"), "cache_control": {"type": "ephemeral"}},
    ]
    (turn,) = to_messages({"messages": [{"role": "user", "content": parts}]}, "m")["messages"]
    png = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}
    assert turn["content"] == [
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "document", "source": pdf},
        {**text("a"), "cache_control": {"type": "ephemeral"}},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_completion_tokens": 5, "max_tokens": 9}, {"max_tokens": 5}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "top_p": 0.5,
                                                       "top_k": 3}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"user": "ann"}, {"metadata": {"user_id": "ann"}}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": False},
         {"tool_choice": {"type": "none"}}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
         {"tool_choice": {"type": "tool", "name": "f"}}),
        ({"tools": [TOOL], "parallel_tool_calls": False},
         {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
         {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
        ({"response_format": {"type": "text"}, "reasoning_effort": "minimal"},
         {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"n": 1, "logprobs": False, "frequency_penalty": 0.0, "store": True, "seed": None}, {}),
    ],
)  # fmt: skip
def test_parameters(given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = to_messages({"messages": HI, **given}, "m")
    plain = {"max_tokens": DEFAULT_MAX_TOKENS, **({"tools": [TOLD]} if "tools" in given else {})}
    turns = [{"role": "user", "content": [text("hi")]}]
    assert made == {"model": "m", "messages": turns, **plain, **expected}


def said(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a", **message}]}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"min_p": 0.5}, "min_p"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"reasoning_effort": ["low"]}, "reasoning_effort"),
        ({"tools": [{"type": "custom"}]}, "tools[0]"),
        ({"tools": 5}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        (said(role="critic"), "messages[0].role"),
        (said(content=5), "messages[0].content"),
        (said(content=[{"type": "input_audio"}]), "messages[0].content[0].type"),
        (said(content=[{"type": "file", "file": {"file_id": "f"}}]),
         "messages[0].content[0].file"),
        (said(content=[{"type": "image_url", "image_url": {"url": "ftp://x"}}]),
         "messages[0].content[0].image_url.url"),
        (said(role="assistant", tool_calls=[{"type": "custom"}]), "messages[0].tool_calls[0]"),
        (said(role="assistant", tool_calls=[{"function": {"name": "f", "arguments": "[1]"}}]),
         "messages[0].tool_calls[0].function.arguments"),
        ({"messages": ["hi"]}, "messages[0]"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_named(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_messages({"messages": HI, **given}, "m")
    assert caught.value.param == param
