"""A request of Anthropic's messages as a chat completion's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from cluster.errors import InvalidRequest
from deployments.router.remote.messages_content import (
    Document,
    blocks_of,
    part_of,
    refused,
    result_of,
    text_of,
)

_SILENT = frozenset(
    {
        "cache_control", "cache_salt", "max_tokens", "messages", "metadata", "model",
        "output_config", "stop_sequences", "stream", "system", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_p",
    }
)  # fmt: skip
"""Fields that are translated, or that mean nothing to the answer."""
_DEFAULTS: Mapping[str, tuple[object, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
}
"""Fields that OpenAI has not, with the values that ask for nothing."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BUDGETS = ((4096, "low"), (16384, "medium"))
"""Tokens of thought below which an effort is meant; from the last one on it is high."""
_NEWEST = (".openai.com", ".azure.com")
"""Whose newer models refuse `max_tokens`; all others know it, and some nothing else."""


def bound_name(base_url: str) -> str:
    """What a provider calls the bound of an answer's length."""
    host = f".{urlsplit(base_url).hostname}"
    return "max_completion_tokens" if host.endswith(_NEWEST) else "max_tokens"


def to_chat(body: Mapping[str, Any], model: str, bound: str) -> Document:
    """Raises InvalidRequest that names what has no counterpart. `bound` is `bound_name`'s."""
    for field, value in body.items():
        if field in _SILENT or value is None or value in _DEFAULTS.get(field, ()):
            continue
        raise refused(field, "it has no counterpart there")
    made: Document = {"model": model, "messages": _messages(body), bound: body["max_tokens"]}
    for field in ("temperature", "top_p", "top_k"):
        if body.get(field) is not None:
            made[field] = body[field]
    if body.get("stop_sequences"):
        made["stop"] = body["stop_sequences"]
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None:
        made["user"] = user
    if body.get("stream"):
        made["stream"], made["stream_options"] = True, {"include_usage": True}
    _tools(body, made)
    _thought(body, made)
    return made


def _messages(body: Mapping[str, Any]) -> list[Document]:
    made: list[Document] = []
    system = text_of(body.get("system"), "system")
    if system:
        made.append({"role": "system", "content": system})
    for index, message in enumerate(body["messages"]):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role == "user":
            made += _user(blocks_of(content, where), where)
        elif role == "assistant":
            made.append(_assistant(blocks_of(content, where), where))
        elif role == "system":
            made.append({"role": "system", "content": text_of(content, f"{where}.content")})
        else:
            raise InvalidRequest(
                f"{where}.role is {role!r}; allowed are user, assistant and system.",
                param=f"{where}.role",
            )
    return made


def _user(blocks: list[Document], where: str) -> list[Document]:
    """The results of tools are messages of their own, and come first."""
    results: list[Document] = []
    parts: list[Document] = []
    for index, block in enumerate(blocks):
        inside = f"{where}.content[{index}]"
        if block.get("type") == "tool_result":
            text, images = result_of(block.get("content"), inside)
            results.append(
                {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
            )
            parts += images
        else:
            parts.append(part_of(block, inside))
    if not parts:
        return results
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if plain else parts}]


def _assistant(blocks: list[Document], where: str) -> Document:
    texts, calls = [], []
    for index, block in enumerate(blocks):
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind not in ("thinking", "redacted_thinking"):  # only their own model reads these
            raise refused(
                f"{where}.content[{index}]",
                f"blocks of the type {kind!r} have no counterpart there",
            )
    made: Document = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        made["tool_calls"] = calls
    elif not texts:
        made["content"] = ""
    return made


def _tools(body: Mapping[str, Any], made: Document) -> None:
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        raise InvalidRequest("tools must be a list.", param="tools")
    if not tools:
        return
    made["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or kind not in (*_CHOICES, "tool"):
        raise InvalidRequest(
            "tool_choice.type must be auto, any, tool or none.", param="tool_choice.type"
        )
    if kind == "tool":
        made["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    else:
        made["tool_choice"] = _CHOICES[kind]
    if choice.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False


def _tool(tool: object, where: str) -> Document:
    if not isinstance(tool, dict) or tool.get("type") not in (None, "custom"):
        raise refused(where, "a tool that the provider itself runs has no counterpart there")
    function: Document = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    for field in ("description", "strict"):
        if tool.get(field) is not None:
            function[field] = tool[field]
    return {"type": "function", "function": function}


def _thought(body: Mapping[str, Any], made: Document) -> None:
    """How long to think, and in which shape to answer."""
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            where = "thinking.budget_tokens"
            raise InvalidRequest(f"{where} must be a whole number.", param=where)
        made["reasoning_effort"] = next(
            (effort for below, effort in _BUDGETS if budget < below), "high"
        )
    config = body.get("output_config") or {}
    if not isinstance(config, dict):
        raise InvalidRequest("output_config must be an object.", param="output_config")
    effort, wanted = config.get("effort"), config.get("format")
    if effort is not None:
        if effort not in _EFFORTS:
            raise InvalidRequest(
                f"output_config.effort must be one of {', '.join(_EFFORTS)}.",
                param="output_config.effort",
            )
        made["reasoning_effort"] = "xhigh" if effort == "max" else effort
    if wanted is not None:
        schema = wanted.get("schema") if isinstance(wanted, dict) else None
        if not isinstance(schema, dict):
            where = "output_config.format.schema"
            raise InvalidRequest(f"{where} must be an object.", param=where)
        made["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
