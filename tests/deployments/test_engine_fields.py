"""Which fields are known: read off classes like vLLM's and OpenAI's."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Required

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from cluster.errors import InvalidRequest
from deployments.engine_fields import known_fields
from deployments.router.dialects.openai.fields import refuse_unknown


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Options(Loose):
    include_usage: bool = False


class Function(Loose):
    name: str
    parameters: dict[str, Any] | None = None


class Tool(Loose):
    type: Literal["function"] = "function"
    function: Function


class Schema(Loose):
    content: dict[str, Any] | None = Field(None, alias="schema")


class Format(Loose):
    json_schema: Schema | None = None


class Part(Loose):
    text: str


class Request(Loose):
    messages: list[Part]
    stream_options: Annotated[Options | None, "why"] = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto"] | Tool | None = None
    response_format: Format | None = None
    logit_bias: dict[str, float] | None = None
    either: Options | dict[str, Any] | None = None


class OpenaiOptions(TypedDict, total=False):
    include_obfuscation: bool


class Openai(TypedDict, total=False):
    messages: Required[Iterable[dict[str, str]]]
    stream_options: OpenaiOptions | None
    metadata: dict[str, str] | None
    audio: OpenaiOptions


KNOWN = known_fields(Request, Openai)


@pytest.mark.parametrize(
    "body",
    [
        {"stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"stream_options": None},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": 1}}}]},
        {"tool_choice": "auto"},
        {"response_format": {"json_schema": {"schema": {"anything": {"at": "all"}}}}},
        {"logit_bias": {"17": 1.0}, "metadata": {"a": "b"}, "audio": {"what": "ever"}},
        {"messages": [{"text": "x", "cache_control": {}}]},
        {"either": {"what": "ever"}},
        {"tools": "no list"},
        {"tools": [1, None]},
    ],
)
def test_what_either_knows_passes(body: dict[str, Any]) -> None:
    given = copy.deepcopy(body)
    refuse_unknown(body, KNOWN)
    assert body == given, "it passes as it came"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"color": 1}, "color"),
        ({"stream_options": {"include_usge": True}}, "stream_options.include_usge"),
        ({"stream_options.include_usage": True}, "stream_options.include_usage"),
        ({"stream_options.": {}}, "stream_options."),
        ({"tools": [{}, {"function": {"name": "f", "x": 1}}]}, "tools[1].function.x"),
        ({"tools": [{"cache_control": {}}]}, "tools[0].cache_control"),
        ({"tool_choice": {"name": "f"}}, "tool_choice.name"),
        ({"response_format": {"schema": {}}}, "response_format.schema"),
        (
            {"response_format": {"json_schema": {"content": {}}}},
            "response_format.json_schema.content",
        ),
    ],
)
def test_what_nobody_knows_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        refuse_unknown(body, KNOWN)
    assert (refused.value.param, refused.value.code) == (param, "unknown_parameter")


def test_openais_own_class_is_read() -> None:
    known = known_fields(Request, CompletionCreateParamsBase)
    assert {"store", "service_tier", "stream_options.include_obfuscation", "tools.custom"} <= known
    assert not any(path.startswith("messages.") for path in known)
