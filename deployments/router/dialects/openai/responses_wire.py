"""`/v1/responses` on the wire: where its counts are, and how its streams fail."""

from __future__ import annotations

from typing import Any

import orjson

from cluster.errors import LorikeetError
from deployments.router.counts import openai_usage
from deployments.router.dialects.dialect import Events
from deployments.router.dialects.openai.errors import render, render_event
from deployments.router.dialects.openai.response_record import (
    ENDS,
    ERROR,
    FAILED,
    ResponseRecord,
    data,
)
from deployments.router.dialects.openai.wire import OPENAI
from deployments.router.exchange import Exchange, Usage

_DELTA = b".delta\ndata: "
"""Of the events that bring text, reasoning or a tool's arguments, about a token each."""


class OpenAIResponses:
    tiers = OPENAI.tiers

    def user(self, document: dict[str, Any]) -> str | None:
        return OPENAI.user(document)

    def answer(self, error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        return render(error)

    def event(self, error: LorikeetError, exchange: Exchange) -> bytes:
        if isinstance(exchange.record, ResponseRecord):
            return exchange.record.failure(error)
        return render_event(error)

    def counts(self, document: dict[str, Any]) -> Usage:
        return openai_usage(document.get("usage")) or Usage()

    def events(self, exchange: Exchange) -> Events:
        return ResponseEvents(exchange)

    def failure(self, first: bytes) -> bytes | None:
        return data(first.partition(b"\n\n")[0]) if first.startswith(ERROR) else None


class ResponseEvents(Events):
    """Takes the counts; the record puts the events into the caller's words."""

    def _take(self, ready: bytes) -> bytes:
        # Stands until the counts come, which a stream that is aborted never has.
        self._exchange.usage.completion += ready.count(_DELTA)
        for end in (*ENDS, FAILED):
            if end in ready:
                last = ready.partition(end)[2].partition(b"\n\n")[0]
                response = orjson.loads(last.removeprefix(b"data: "))["response"]
                counted = openai_usage(response.get("usage"))
                if counted is not None:
                    self._exchange.usage = counted
        if ERROR in ready or FAILED in ready:
            self._broken()
        return ready


OPENAI_RESPONSES = OpenAIResponses()
