"""A chat completion's request as one for Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from cluster.errors import InvalidRequest
from deployments.router.remote.chat_content import Document, parts, refused, text_only, user_part

DEFAULT_MAX_TOKENS = 4096
"""Anthropic wants a number; who gives none gets this one."""
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_SILENT = frozenset(
    {
        "cache_salt", "max_completion_tokens", "max_tokens", "metadata", "messages", "model",
        "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort",
        "response_format", "safety_identifier", "stop", "store", "stream", "stream_options",
        "temperature", "tool_choice", "tools", "top_k", "top_p", "user",
    }
)  # fmt: skip
"""Fields that are translated, or that mean nothing to the answer."""
_DEFAULTS: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
"""Fields that Anthropic has not, with the values that ask for nothing."""


def to_messages(body: Mapping[str, Any], model: str) -> Document:
    """Raises InvalidRequest that names what has no counterpart."""
    for field, value in body.items():
        if field in _SILENT or value is None or value in _DEFAULTS.get(field, ()):
            continue
        raise refused(field, "it has no counterpart there")
    bound = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_TOKENS
    system, messages = _messages(body["messages"])
    made: Document = {"model": model, "max_tokens": bound, "messages": messages}
    if system:
        made["system"] = system
    for field in ("temperature", "top_p", "top_k"):
        if body.get(field) is not None:
            made[field] = body[field]
    if body.get("stream"):
        made["stream"] = True
    stop = body.get("stop")
    if stop:
        made["stop_sequences"] = stop if isinstance(stop, list) else [stop]
    user = body.get("safety_identifier") or body.get("user")
    if user:
        made["metadata"] = {"user_id": user}
    _tools(body, made)
    _output(body, made)
    return made


def _messages(given: list[Any]) -> tuple[list[Document], list[Document]]:
    """The system prompt and the turns. Neighbours of one role become one turn."""
    system: list[Document] = []
    turns: list[Document] = []
    for index, message in enumerate(given):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"{where} must be an object.", param=where)
        role = message.get("role")
        if role in ("system", "developer"):
            system += parts(message.get("content"), f"{where}.content", text_only)
            continue
        if role == "user":
            turn, blocks = "user", parts(message.get("content"), f"{where}.content", user_part)
        elif role == "assistant":
            turn, blocks = "assistant", _assistant(message, where)
        elif role == "tool":
            turn, blocks = "user", [_tool_result(message, where)]
        else:
            raise InvalidRequest(
                f"{where}.role is {role!r}; allowed are system, developer, user, assistant and "
                "tool.",
                param=f"{where}.role",
            )
        if not blocks:
            continue
        if turns and turns[-1]["role"] == turn:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": turn, "content": blocks})
    return system, turns


def _assistant(message: Document, where: str) -> list[Document]:
    for field in ("audio", "function_call"):
        if message.get(field) is not None:
            raise refused(f"{where}.{field}", "it has no counterpart there")
    blocks = parts(message.get("content"), f"{where}.content", text_only)
    for index, call in enumerate(_list(message.get("tool_calls"), f"{where}.tool_calls")):
        inside = f"{where}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise refused(inside, "only calls of functions can be sent on")
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": _arguments(function.get("arguments"), f"{inside}.function.arguments"),
            }
        )
    return blocks


def _arguments(text: object, where: str) -> Document:
    try:
        found = orjson.loads(text) if isinstance(text, str) and text.strip() else {}
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{where} must be a JSON object in a string.", param=where)
    return found


def _tool_result(message: Document, where: str) -> Document:
    blocks = parts(message.get("content"), f"{where}.content", user_part)
    result: Document = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    if blocks:
        result["content"] = blocks
    return result


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} must be a list.", param=where)
    return value


def _tools(body: Mapping[str, Any], made: Document) -> None:
    tools = _list(body.get("tools"), "tools")
    if not tools:
        return
    made["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = _tool_choice(body.get("tool_choice"))
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    if choice:
        made["tool_choice"] = choice


def _tool(tool: object, where: str) -> Document:
    function = tool.get("function") if isinstance(tool, dict) else None
    if (
        not isinstance(tool, dict)
        or tool.get("type") != "function"
        or not isinstance(function, dict)
    ):
        raise refused(where, "only tools of the type 'function' can be sent on")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    made = {"name": function.get("name"), "input_schema": schema}
    for field in ("description", "strict"):
        if function.get(field) is not None:
            made[field] = function[field]
    if "cache_control" in tool:
        made["cache_control"] = tool["cache_control"]
    return made


def _tool_choice(choice: object) -> Document:
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return {"type": "any" if choice == "required" else choice}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        return {"type": "tool", "name": function.get("name")}
    raise refused("tool_choice", "it must be auto, none, required or one function")


def _output(body: Mapping[str, Any], made: Document) -> None:
    config: Document = {}
    wanted = body.get("response_format") or {"type": "text"}
    if wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if not isinstance(schema, dict):
            where = "response_format.json_schema.schema"
            raise InvalidRequest(f"{where} must be an object.", param=where)
        config["format"] = {"type": "json_schema", "schema": schema}
    elif wanted.get("type") != "text":
        raise refused("response_format", "of the formats only json_schema has a counterpart")
    effort = body.get("reasoning_effort")
    if effort == "none":
        made["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            raise refused("reasoning_effort", f"allowed are none, {', '.join(_EFFORTS)}")
        config["effort"] = _EFFORTS[effort]
    if config:
        made["output_config"] = config
