"""OpenAI's API on the wire: its errors, and the counts in its answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from cluster.errors import LorikeetError
from deployments.router.counts import openai_usage
from deployments.router.dialects.dialect import Events
from deployments.router.dialects.openai.errors import from_engine, render, render_event, status_of
from deployments.router.exchange import Exchange, Usage
from deployments.router.waiting.tier import Tier

_COUNTS = b'"choices":[]'
"""Only the event that carries the counts has no choices. In a text the quotes are escaped."""
_ERROR = b'data: {"error"'
_DONE = b"data: [DONE]"


class OpenAI:
    tiers: Mapping[str, Tier] = MappingProxyType(
        {
            "auto": Tier.DEFAULT,
            "default": Tier.DEFAULT,
            "flex": Tier.FLEX,
            "priority": Tier.PRIORITY,
            "fast": Tier.PRIORITY,
            "scale": Tier.DEFAULT,
        }
    )

    def user(self, document: dict[str, Any]) -> str | None:
        # The newer name of two for the same.
        named = (document.get("safety_identifier"), document.get("user"))
        return next((user for user in named if isinstance(user, str) and user), None)

    def answer(self, error: LorikeetError) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        return render(error)

    def event(self, error: LorikeetError, exchange: Exchange) -> bytes:
        return render_event(error)

    def counts(self, document: dict[str, Any]) -> Usage:
        return openai_usage(document.get("usage")) or Usage()

    def events(self, exchange: Exchange) -> Events:
        return OpenAIEvents(exchange)

    def failure(self, first: bytes) -> bytes | None:
        if not first.startswith(_ERROR):
            return None
        return first.partition(b"\n\n")[0].removeprefix(b"data: ")


class OpenAIEvents(Events):
    def _take(self, ready: bytes) -> bytes:
        # An aborted stream brings no counts: about one event a token is the best that is known.
        self._exchange.usage.completion += ready.count(b"\n\n") - ready.count(_DONE)
        if _ERROR in ready:
            ready = self._take_error(ready)
        if _COUNTS in ready:
            return self._take_counts(ready)
        return ready

    def _take_error(self, ready: bytes) -> bytes:
        """The engine's error in our own shape."""
        self._broken()
        kept = []
        for event in ready.split(b"\n\n"):
            if event.startswith(_ERROR):
                self._exchange.usage.completion -= 1
                told = event.removeprefix(b"data: ")
                error = from_engine(status_of(told) or 500, told)
                event = render_event(error).removesuffix(b"\n\n")
            kept.append(event)
        return b"\n\n".join(kept)

    def _take_counts(self, ready: bytes) -> bytes:
        kept = []
        for event in ready.split(b"\n\n"):
            if _COUNTS in event:
                usage = orjson.loads(event.removeprefix(b"data: ")).get("usage")
                if usage is not None:
                    self._exchange.usage = openai_usage(usage) or Usage()
                    if not self._exchange.usage_wanted:
                        continue
            kept.append(event)
        return b"\n\n".join(kept)


OPENAI = OpenAI()
