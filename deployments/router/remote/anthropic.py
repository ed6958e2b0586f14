"""Anthropic's protocol to a provider that speaks it: nothing changes but the model's name."""

from __future__ import annotations

import orjson

from cluster.usage.event import LARGEST
from deployments.router.counts import anthropic_usage
from deployments.router.remote.faults import garbage
from deployments.router.remote.openai import without_ours
from deployments.router.remote.passage import (
    ANTHROPIC_SILENT,
    Document,
    Passage,
)
from deployments.router.remote.sse import Event, written


class Anthropic(Passage):
    silent = ANTHROPIC_SILENT

    @property
    def path(self) -> str:
        return self.exchange.endpoint

    def body(self) -> Document:
        return without_ours(self.exchange.document, self.target.model)

    def whole(self, document: Document) -> Document | None:
        if self.exchange.endpoint != "/v1/messages":
            self.check(document, field="input_tokens", kind=int)
            return None
        self.check(document, field="content", kind=list)
        counted = anthropic_usage(document.get("usage"))
        if counted is None:
            self.estimate(document)
        else:
            self.exchange.usage = counted
        return None

    def event(self, event: Event, document: Document) -> bytes:
        kind = document.get("type")
        if not isinstance(kind, str):
            raise garbage(self.provider, "an event without a type")
        data = event.data
        if kind == "message_stop":
            self.done = True
        elif kind == "message_start":
            message = document.get("message")
            if not isinstance(message, dict):
                raise garbage(self.provider, "a message_start without a message")
            if not _plain(message.get("usage")):
                data = orjson.dumps({**document, "message": {**message, "usage": None}})
        elif kind == "message_delta" and not _plain(document.get("usage")):
            data = orjson.dumps({**document, "usage": None})
        return written(data, kind.encode())


def _plain(usage: object) -> bool:
    """Whether a usage object, if there is one, counts in numbers."""
    if usage is None:
        return True
    if not isinstance(usage, dict):
        return False
    counts = (each for name, each in usage.items() if name.endswith("_tokens"))
    return all(each is None or (type(each) is int and 0 <= each <= LARGEST) for each in counts)
