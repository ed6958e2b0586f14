"""A virtual model's system prompt in a chat's messages, and in a response's instructions."""

from __future__ import annotations

from typing import Any

SYSTEM = ("system", "developer")


def instruct_chat(body: dict[str, Any], prompt: str) -> None:
    """Put `prompt` before the caller's own, in one message: many templates take no second one."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return  # refused later, with the field's name
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role") not in SYSTEM:
        body["messages"] = [{"role": "system", "content": prompt}, *messages]
        return
    own = first.get("content")
    if isinstance(own, str):
        content: object = f"{prompt}\n\n{own}"
    else:
        parts = own if isinstance(own, list) else []
        content = [{"type": "text", "text": prompt}, *parts]
    body["messages"] = [{**first, "content": content}, *messages[1:]]


def instruct_response(body: dict[str, Any], prompt: str) -> None:
    """Put `prompt` before the caller's own instructions."""
    own = body.get("instructions")
    body["instructions"] = f"{prompt}\n\n{own}" if isinstance(own, str) and own else prompt
