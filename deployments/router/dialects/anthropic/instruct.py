"""A virtual model's system prompt in the field that Anthropic's API has for it."""

from __future__ import annotations

from typing import Any


def instruct_messages(body: dict[str, Any], prompt: str) -> None:
    """Put `prompt` before the caller's own."""
    own = body.get("system")
    if isinstance(own, list):
        body["system"] = [{"type": "text", "text": prompt}, *own]
    elif isinstance(own, str) and own:
        body["system"] = f"{prompt}\n\n{own}"
    else:
        body["system"] = prompt
