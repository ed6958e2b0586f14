"""The items of a conversation: what goes into a response and what comes out of it."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest
from cluster.identifiers import new_id

Item = dict[str, Any]

PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
}
"""Of an item's id, by its type."""


def items(given: object) -> list[Item]:
    """A request's `input` as items, each with an id. Raises InvalidRequest."""
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        why = "it is missing" if given is None else f"given: {type(given).__name__}"
        raise InvalidRequest(f"input must be a string or a list of items ({why}).", param="input")
    made = []
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise InvalidRequest(f"input[{index}] must be an object.", param=f"input[{index}]")
        identifier = item.get("id")
        if not isinstance(identifier, str) or not identifier:
            identifier = new_id(PREFIXES.get(str(item.get("type", "message")), "item_"))
        made.append({**item, "id": identifier})
    return made


def carried(output: list[Item]) -> list[Item]:
    """A response's output as input of the next one: without what only its reader wants."""
    return [_plain(item) for item in output]


def _plain(item: Item) -> Item:
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return item
    parts = [{key: of for key, of in part.items() if key != "logprobs"} for part in content]
    return {**item, "content": parts}


def heard(given: list[Item]) -> list[Item]:
    """Items as an engine takes them. Of the assistant's own messages vLLM reads one part only,
    and breaks over one without a text: their parts become one, and what is empty is left out."""
    made = []
    for item in given:
        text = _text(item)
        if text is None:
            made.append(item)
        elif text:
            made.append({**item, "content": [_part(text, "assistant")]})
    return made


def _text(item: Item) -> str | None:
    """Of an assistant's message in parts; None for other items and for parts that can't be: the
    engine says what is wrong with them."""
    parts = item.get("content")
    if item.get("role") != "assistant" or not isinstance(parts, list):
        return None
    said = [part.get("text", part.get("refusal")) for part in parts if isinstance(part, dict)]
    texts = [text for text in said if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(parts) else None


def shown(item: Item) -> Item:
    """An item in the long form, in which lists have it: its type named, its content in parts."""
    kind = item.get("type", "message")
    content = item.get("content")
    if kind != "message":
        return item
    if isinstance(content, str):
        content = [_part(content, item.get("role"))]
    return {"status": "completed", **item, "type": kind, "content": content}


def _part(text: str, role: object) -> Item:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}
