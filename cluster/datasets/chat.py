"""Rows of `messages`, as OpenAI's supervised format has them."""

from __future__ import annotations

import json
from typing import Any

from cluster.datasets.fields import mapping, name, only, sequence, text
from cluster.datasets.problem import Faulty
from cluster.datasets.rows import ChatRow

ROW_KEYS = ("messages", "tools", "parallel_tool_calls")
ROLE_KEYS = {
    "system": ("role", "content", "name"),
    "developer": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": ("role", "content", "name", "tool_calls", "weight"),
    "tool": ("role", "content", "name", "tool_call_id"),
}


def read_chat(row: dict[str, Any]) -> ChatRow:
    """Raises Faulty."""
    only(row, ROW_KEYS, "")
    tools = tuple(
        _tool(tool, f"tools[{i}]")
        for i, tool in enumerate(_optional_list(row.get("tools"), "tools"))
    )
    parallel = row.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise Faulty("parallel_tool_calls", "it must be true or false.", value=parallel)
    calls: set[str] = set()
    messages = tuple(
        _message(message, f"messages[{i}]", calls)
        for i, message in enumerate(sequence(row["messages"], "messages"))
    )
    if messages[-1]["role"] != "assistant":
        raise Faulty(
            f"messages[{len(messages) - 1}].role",
            "the last message must be the assistant's: it is what is learned.",
            value=messages[-1]["role"],
        )
    if not any(m["role"] == "assistant" and m.get("weight", 1) for m in messages):
        raise Faulty("messages", "every assistant message has weight 0: nothing is learned.")
    return ChatRow(messages, tools, parallel)


def _optional_list(value: object, place: str) -> list[Any]:
    if value is None or value == []:
        return []
    return sequence(value, place)


def _message(value: object, place: str, calls: set[str]) -> dict[str, Any]:
    message = mapping(value, place)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLE_KEYS:
        raise Faulty(f"{place}.role", f"allowed are {', '.join(ROLE_KEYS)}.", value=role)
    only(message, ROLE_KEYS[role], place)
    out: dict[str, Any] = {"role": role}
    if message.get("name") is not None:
        out["name"] = name(message["name"], f"{place}.name")
    if role == "assistant":
        out |= _assistant(message, place, calls)
    else:
        out["content"] = _content(message.get("content"), f"{place}.content")
    if role == "tool":
        out["tool_call_id"] = _answered(message.get("tool_call_id"), place, calls)
    return out


def _assistant(message: dict[str, Any], place: str, calls: set[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    tool_calls = [
        _call(call, f"{place}.tool_calls[{i}]", calls)
        for i, call in enumerate(_optional_list(message.get("tool_calls"), f"{place}.tool_calls"))
    ]
    content = message.get("content")
    if content is None and not tool_calls:
        raise Faulty(f"{place}.content", "an assistant has content or tool_calls.", value=content)
    # Templates write the content of a message with tool calls too: it is "", never null.
    out["content"] = "" if content is None else _content(content, f"{place}.content")
    if not out["content"] and not tool_calls:
        raise Faulty(f"{place}.content", "an assistant's message must not be empty.", value="")
    if tool_calls:
        out["tool_calls"] = tool_calls
    weight = message.get("weight")
    if weight is not None:
        if isinstance(weight, bool) or weight not in (0, 1):
            raise Faulty(f"{place}.weight", "allowed are 0 and 1.", value=weight)
        out["weight"] = int(weight)
    return out


def _content(value: object, place: str) -> str:
    if isinstance(value, str):
        return text(value, place)
    if not isinstance(value, list) or not value:
        raise Faulty(place, "it must be a string or a list of text parts.", value=value)
    parts = []
    for i, part in enumerate(value):
        here = f"{place}[{i}]"
        part = mapping(part, here)
        only(part, ("type", "text"), here)
        if part.get("type") != "text":
            raise Faulty(f"{here}.type", 'only "text" is allowed.', value=part.get("type"))
        parts.append(text(part.get("text"), f"{here}.text"))
    return "\n".join(parts)  # as vLLM hands them to templates


def _call(value: object, place: str, calls: set[str]) -> dict[str, Any]:
    call = mapping(value, place)
    only(call, ("id", "type", "function"), place)
    if call.get("type") != "function":
        raise Faulty(f"{place}.type", 'only "function" is allowed.', value=call.get("type"))
    identifier = name(call.get("id"), f"{place}.id")
    if identifier in calls:
        raise Faulty(f"{place}.id", "another call of the row has it.", value=identifier)
    calls.add(identifier)
    function = mapping(call.get("function"), f"{place}.function")
    only(function, ("name", "arguments"), f"{place}.function")
    return {
        "id": identifier,
        "type": "function",
        "function": {
            "name": name(function.get("name"), f"{place}.function.name"),
            "arguments": _arguments(function.get("arguments"), f"{place}.function.arguments"),
        },
    }


def _arguments(value: object, place: str) -> dict[str, Any]:
    # vLLM hands templates an object here; training on the string would teach another format.
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
    else:
        parsed = value
    if not isinstance(parsed, dict):
        raise Faulty(place, "it must be a JSON object, or one written as a string.", value=value)
    _writable(parsed, place)
    return parsed


def _answered(value: object, place: str, calls: set[str]) -> str:
    identifier = name(value, f"{place}.tool_call_id")
    if identifier not in calls:
        raise Faulty(
            f"{place}.tool_call_id", "no tool call before it has this id.", value=identifier
        )
    return identifier


def _tool(value: object, place: str) -> dict[str, Any]:
    tool = mapping(value, place)
    only(tool, ("type", "function"), place)
    if tool.get("type") != "function":
        raise Faulty(f"{place}.type", 'only "function" is allowed.', value=tool.get("type"))
    function = mapping(tool.get("function"), f"{place}.function")
    name(function.get("name"), f"{place}.function.name")
    if function.get("parameters") is not None:
        mapping(function["parameters"], f"{place}.function.parameters")
    _writable(function, f"{place}.function")
    return {"type": "function", "function": function}


def _writable(value: object, place: str) -> None:
    """Raises Faulty where a string deep inside can't be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError, ValueError):
        raise Faulty(place, "it can't be written as UTF-8 JSON.") from None
