"""How one request passes to a provider and its answer back: the seam between two dialects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import orjson

from cluster.catalog.route import Remote
from deployments.router.exchange import Exchange, Usage
from deployments.router.remote.faults import cut_off, from_event, garbage
from deployments.router.remote.sse import Event

Document = dict[str, Any]


class Passage(ABC):
    """Made for each attempt. What it returns is in the caller's dialect."""

    silent: ClassVar[frozenset[str]] = frozenset()
    """Types of the events that come before anything is generated."""

    def __init__(self, exchange: Exchange, target: Remote, provider: str) -> None:
        self.exchange = exchange
        self.target = target
        self.provider = provider
        self.done = False
        """Whether the stream has come to its proper end."""
        self.under_way = False
        """Whether an event has come that is not silent."""

    @property
    @abstractmethod
    def path(self) -> str:
        """Below the connection's address."""

    @abstractmethod
    def body(self) -> Document:
        """What the provider is sent. Raises InvalidRequest for what it can't be told."""

    @abstractmethod
    def whole(self, document: Document) -> Document | None:
        """An answer that came as a whole; None where it stays as it is, byte for byte."""

    @abstractmethod
    def event(self, event: Event, document: Document) -> bytes:
        """What becomes of an event, maybe nothing."""

    def done_by(self, event: Event) -> bytes | None:
        """What the caller gets for an event without a document, such as `[DONE]`; None where it
        must have one."""
        return None

    def end(self) -> bytes:
        """What is to be added where the stream has ended by itself. Raises Unavailable."""
        raise cut_off(self.provider)

    # What all of them do.

    def feed(self, event: Event) -> bytes:
        """Raises LorikeetError for an error that the provider tells, and for what is no event."""
        if self.done:
            return b""
        last = self.done_by(event)
        if last is not None:
            return last
        try:
            document = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise garbage(self.provider, "a stream of something else than events in JSON")
        if document.get("error") is not None:
            raise from_event(self.provider, self.target.name, document)
        made = self.event(event, document)
        kind = document.get("type")
        if not isinstance(kind, str) or kind not in self.silent:
            self.under_way = True
        return made

    def check(self, document: object, *, field: str, kind: type) -> Document:
        """A whole answer that has `field`. Raises LorikeetError for everything else."""
        if not isinstance(document, dict):
            raise garbage(self.provider, "something else than a JSON object")
        if document.get("error") is not None:
            raise from_event(self.provider, self.target.name, document)
        if not isinstance(document.get(field), kind):
            raise garbage(self.provider, f"a JSON object that has no {field!r}")
        return document

    def estimate(self, document: Document) -> None:
        """Take about as many tokens as the answer has, where the provider does not count."""
        self.exchange.usage.completion = max(1, _said(document) // 3)


_TEXTS = frozenset({"content", "text", "arguments", "reasoning", "reasoning_content", "thinking"})


def _said(node: object, named: str = "") -> int:
    """Characters that a model wrote, anywhere in an answer."""
    if isinstance(node, str):
        return len(node) if named in _TEXTS else 0
    if isinstance(node, list):
        return sum(_said(each, named) for each in node)
    if isinstance(node, dict):
        return sum(_said(value, key) for key, value in node.items())
    return 0


def openai_object(counted: Usage, more: object = None) -> Document:
    """OpenAI's object with these counts, and what else `more` has."""
    given = more if isinstance(more, dict) else {}
    kept = {name: each for name, each in given.items() if not name.endswith("_details")}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(given.get(name), dict):
            kept[name] = given[name]
    return {
        **kept,
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "total_tokens": counted.total,
        "prompt_tokens_details": {
            **kept.get("prompt_tokens_details", {}),
            "cached_tokens": counted.cached,
        },
    }


ANTHROPIC_SILENT = frozenset({"message_start", "ping"})


def anthropic_object(counted: Usage) -> Document:
    return {
        "input_tokens": counted.prompt - counted.cached,
        "cache_read_input_tokens": counted.cached,
        "output_tokens": counted.completion,
    }
