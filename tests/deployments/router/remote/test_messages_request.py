"""A request of Anthropic's messages for OpenAI's API."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import InvalidRequest
from deployments.router.remote.messages_request import bound_name, to_chat

ASK: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PLAIN = {"model": "m", "messages": ASK["messages"], "max_tokens": 9}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
TOLD = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object"}, "description": "d"},
}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_whole_conversation() -> None:
    png = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    made = to_chat(
        {
            **ASK,
            "system": [{**text("Be kind."), "cache_control": {"type": "ephemeral"}}, text("Now.")],
            "messages": [
                {"role": "user", "content": [text("Look:"), {"type": "image", "source": png}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        text("Wait."),
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        text("So?"),
                        {
                            "type": "tool_result",
                            "tool_use_id": "t1",
                            "content": [text("sunny"), {"type": "image", "source": png}],
                        },
                    ],
                },
                {"role": "assistant", "content": []},
            ],
            "tools": [TOOL],
        },
        "m",
        "max_tokens",
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert made == {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "Be kind.\n\nNow."},
            {"role": "user", "content": [text("Look:"), image]},
            {"role": "assistant", "content": "Wait.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
            {"role": "user", "content": [text("So?"), image]},
            {"role": "assistant", "content": ""},
        ],
        "tools": [TOLD],
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stop_sequences": ["a"], "temperature": 0, "top_p": 1, "top_k": 2},
         {"stop": ["a"], "temperature": 0, "top_p": 1, "top_k": 2}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"metadata": {"user_id": "ann"}}, {"user": "ann"}),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
         {"tool_choice": "auto", "parallel_tool_calls": False}),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
         {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "disabled"}}, {}),
        ({"output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}},
         {"response_format": {"type": "json_schema",
                              "json_schema": {"name": "answer", "schema": {}, "strict": True}}}),
        ({"service_tier": "auto", "cache_control": {"type": "ephemeral"}}, {}),
    ],
)  # fmt: skip
def test_parameters(given: dict[str, Any], expected: dict[str, Any]) -> None:
    tools = {"tools": [TOLD]} if "tools" in given else {}
    assert to_chat({**ASK, **given}, "m", "max_tokens") == {**PLAIN, **tools, **expected}


def test_documents() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}
    blocks = [
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "data": "words"}},
    ]
    made = to_chat({**ASK, "messages": [{"role": "user", "content": blocks}]}, "m", "max_tokens")
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}
    assert made["messages"][0]["content"] == [{"type": "file", "file": file}, text("words")]


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://us.api.openai.com/v1", "max_completion_tokens"),
        ("https://notopenai.com/v1", "max_tokens"),
        ("http://10.0.0.1:8000/v1", "max_tokens"),
    ],
)
def test_the_bound_has_two_names(base_url: str, name: str) -> None:
    assert bound_name(base_url) == name


def said(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"system": [{"type": "image"}]}, "system[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0]"),
        ({"tools": 5}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {}}}, "output_config.format.schema"),
        (said({"type": "search_result"}), "messages[0].content[0]"),
        (said({"type": "image", "source": {"type": "file"}}), "messages[0].content[0].source"),
        (said({"type": "server_tool_use"}, role="assistant"), "messages[0].content[0]"),
        (said("hi"), "messages[0].content"),
        (said(role="tool"), "messages[0].role"),
    ],
)
def test_what_has_no_counterpart_is_named(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_chat({**ASK, **given}, "m", "max_tokens")
    assert caught.value.param == param
