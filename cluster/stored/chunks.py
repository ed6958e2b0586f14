"""The chunks of a streamed chat completion, put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]

JOINED = frozenset({"content", "refusal", "reasoning", "reasoning_content", "arguments"})
"""Texts that come in pieces. Every other value comes whole, and the last one holds."""


def completion(chunks: Iterable[Document]) -> Document:
    """What the same request would have been answered without a stream."""
    made: Document = {}
    choices: dict[int, Document] = {}
    for chunk in chunks:
        for choice in chunk.get("choices", ()):
            _add(choices.setdefault(choice.get("index", 0), {"message": {}}), choice)
        made |= {
            key: value for key, value in chunk.items() if key != "choices" and value is not None
        }
    for index, choice in choices.items():
        message = {"role": "assistant", "content": None, **choice.pop("message")}
        calls = message.pop("tool_calls", None)
        if calls is not None:
            message["tool_calls"] = [calls[at] for at in sorted(calls)]
        choices[index] = {"index": index, "message": message, "logprobs": None, **choice}
    return {
        **made,
        "object": "chat.completion",
        "choices": [choices[index] for index in sorted(choices)],
    }


def _add(choice: Document, piece: Document) -> None:
    for key, value in piece.items():
        if key == "delta":
            _join(choice["message"], value or {})
        elif key == "logprobs" and value is not None:
            kept = choice.setdefault("logprobs", {})
            for kind, tokens in value.items():
                if isinstance(tokens, list):
                    kept[kind] = [*(kept.get(kind) or ()), *tokens]
                else:
                    kept.setdefault(kind, tokens)
        elif value is not None:
            choice[key] = value


def _join(made: Document, delta: Document) -> None:
    for key, value in delta.items():
        if value is None:
            continue
        if key == "tool_calls":
            calls = made.setdefault("tool_calls", {})
            for place, call in enumerate(value):
                at = call.get("index", place)
                _join(calls.setdefault(at, {}), {k: v for k, v in call.items() if k != "index"})
        elif isinstance(value, dict):
            _join(made.setdefault(key, {}), value)
        elif key in JOINED:
            made[key] = made.get(key, "") + value
        else:
            made[key] = value
