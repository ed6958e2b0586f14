"""A request of Anthropic's messages as a chat completion's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from cluster.errors import InvalidRequest

Document = dict[str, Any]

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


def refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param} can't be asked of this provider, which speaks OpenAI's protocol: {why}.",
        param=param,
        code="unsupported_parameter",
    )


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
    system = _text(body.get("system"), "system")
    if system:
        made.append({"role": "system", "content": system})
    for index, message in enumerate(body["messages"]):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role == "user":
            made += _user(_blocks(content, where), where)
        elif role == "assistant":
            made.append(_assistant(_blocks(content, where), where))
        elif role == "system":
            made.append({"role": "system", "content": _text(content, f"{where}.content")})
        else:
            raise InvalidRequest(
                f"{where}.role is {role!r}; allowed are user, assistant and system.",
                param=f"{where}.role",
            )
    return made


def _blocks(content: object, where: str) -> list[Document]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise InvalidRequest(
            f"{where}.content must be a string or a list of blocks.", param=f"{where}.content"
        )
    return content


def _text(content: object, where: str) -> str:
    """The text of blocks that can only be texts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} must be a string or a list of blocks.", param=where)
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            raise refused(f"{where}[{index}]", "only texts have a place there")
    return "\n\n".join(block["text"] for block in content)


def _user(blocks: list[Document], where: str) -> list[Document]:
    """The results of tools are messages of their own, and come first."""
    results: list[Document] = []
    parts: list[Document] = []
    for index, block in enumerate(blocks):
        inside = f"{where}.content[{index}]"
        if block.get("type") == "tool_result":
            text, images = _result(block.get("content"), inside)
            results.append(
                {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
            )
            parts += images
        else:
            parts.append(_part(block, inside))
    if not parts:
        return results
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    return [*results, {"role": "user", "content": parts[0]["text"] if plain else parts}]


def _result(content: object, where: str) -> tuple[str, list[Document]]:
    """A tool's texts, and its images as parts: a tool's own message has no place for them."""
    if content is None or isinstance(content, str):
        return content or "", []
    parts = [
        _part(block, f"{where}.content[{index}]")
        for index, block in enumerate(_blocks(content, where))
    ]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(block: Document, where: str) -> Document:
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise InvalidRequest(f"{where}.text must be a string.", param=f"{where}.text")
        return {"type": "text", "text": block["text"]}
    if kind not in ("image", "document") or not isinstance(source, dict):
        raise refused(where, f"blocks of the type {kind!r} have no counterpart there")
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": str(source.get("data") or "")}
    url = _url(source, f"{where}.source", links=kind == "image")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    name = block.get("title") or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def _url(source: Document, where: str, *, links: bool) -> str:
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    if links and source.get("type") == "url" and isinstance(source.get("url"), str):
        url: str = source["url"]
        return url
    raise refused(where, f"a source of the type {source.get('type')!r} has no counterpart there")


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
