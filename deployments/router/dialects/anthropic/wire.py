"""Anthropic's API on the wire: its errors, and the counts in its answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from cluster.errors import LorikeetError
from deployments.router.counts import anthropic_usage
from deployments.router.dialects.dialect import Events
from deployments.router.dialects.openai.errors import MESSAGE_MOST, from_engine, headed, status_of
from deployments.router.exchange import Exchange, Usage
from deployments.router.waiting.tier import Tier

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status, in the words of Anthropic's API; its own status for an overload is 529."""
_ERROR = b"event: error\n"
_DELTA = b"event: content_block_delta\n"
_START = b"event: message_start\n"
_END = b"event: message_delta\n"


class Anthropic:
    tiers: Mapping[str, Tier] = MappingProxyType(
        {"auto": Tier.DEFAULT, "standard_only": Tier.DEFAULT}
    )

    def user(self, document: dict[str, Any]) -> str | None:
        metadata = document.get("metadata")
        user = metadata.get("user_id") if isinstance(metadata, dict) else None
        return user if isinstance(user, str) else None

    def answer(self, error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        return headed(_body(error), error)

    def event(self, error: LorikeetError, exchange: Exchange) -> bytes:
        return _ERROR + b"data: " + _body(error) + b"\n\n"

    def counts(self, document: dict[str, Any]) -> Usage:
        return anthropic_usage(document.get("usage")) or Usage()

    def events(self, exchange: Exchange) -> Events:
        return AnthropicEvents(exchange)

    def failure(self, first: bytes) -> bytes | None:
        return _data(first.partition(b"\n\n")[0]) if first.startswith(_ERROR) else None


class AnthropicEvents(Events):
    """The input's count comes with the first event, the output's with the last but one."""

    def _take(self, ready: bytes) -> bytes:
        # Stands until the count comes, which a stream that is aborted never has.
        self._exchange.usage.completion += ready.count(_DELTA)
        if _ERROR not in ready and _START not in ready and _END not in ready:
            return ready
        return b"\n\n".join(self._event(event) for event in ready.split(b"\n\n"))

    def _event(self, event: bytes) -> bytes:
        if event.startswith(_ERROR):
            self._broken()
            told = _data(event)
            error = from_engine(status_of(told) or 500, told)
            return ANTHROPIC.event(error, self._exchange).removesuffix(b"\n\n")
        used = self._exchange.usage
        if event.startswith(_START):
            begun = anthropic_usage(orjson.loads(_data(event))["message"].get("usage")) or Usage()
            if begun.prompt:
                used.prompt, used.cached = begun.prompt, begun.cached
        elif event.startswith(_END):
            usage = orjson.loads(_data(event)).get("usage")
            if usage is not None:
                counted = anthropic_usage(usage) or Usage()
                if counted.prompt:  # else what was told, or estimated, at the beginning stands
                    used.prompt, used.cached = counted.prompt, counted.cached
                used.completion = counted.completion
        return event


def _data(event: bytes) -> bytes:
    return event.partition(b"\ndata: ")[2]


def _body(error: LorikeetError) -> bytes:
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    told: dict[str, Any] = {"type": kind, "message": error.message[:MESSAGE_MOST]}
    if error.param is not None:
        told["param"] = error.param
    return orjson.dumps({"type": "error", "error": told})


ANTHROPIC = Anthropic()
