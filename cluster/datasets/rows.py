"""Normalised rows: what a training file says once its spelling is settled.

Content parts are joined to one string, a tool call's arguments are an object, and nothing is there
that a trainer would not use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Shape(StrEnum):
    """The two kinds of row. A file holds one kind."""

    CHAT = "chat"
    COMPLETION = "completion"


@dataclass(frozen=True)
class ChatRow:
    """A conversation in the form that chat templates take.

    An assistant's message whose `weight` is 0 is context: no loss is taken on it.
    """

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    parallel_tool_calls: bool | None = None

    shape = Shape.CHAT

    @property
    def characters(self) -> int:
        return sum(len(message.get("content") or "") for message in self.messages)


@dataclass(frozen=True)
class CompletionRow:
    """A prompt and the text to be learned after it."""

    prompt: str
    completion: str

    shape = Shape.COMPLETION

    @property
    def characters(self) -> int:
        return len(self.prompt) + len(self.completion)


Row = ChatRow | CompletionRow
