"""Step 7: the engine's bytes to the caller, and the token counts out of them."""

from __future__ import annotations

import time
from typing import Any

import orjson

from cluster.errors import Unavailable
from deployments.router.dialects.openai.errors import from_engine, render_event
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange, Usage
from deployments.router.upstream import ConnectionLost

JSON = (b"content-type", b"application/json")
EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]

_COUNTS = b'"choices":[]'
"""Only the event that carries the counts has no choices. In a text the quotes are escaped."""
ERROR_EVENT = b'data: {"error"'
DONE = b"data: [DONE]"


class Stream:
    async def __call__(self, exchange: Exchange) -> None:
        answer = exchange.answer
        assert answer is not None, "dispatch comes before stream"
        exchange.first_token_at = time.perf_counter()
        try:
            if answer.status != 200:
                exchange.usage = Usage()
                told = exchange.first + await answer.read_all()
                prompt, fields = ENDPOINTS[exchange.endpoint].input, exchange.document.keys()
                raise from_engine(answer.status, told, prompt, fields)
            if exchange.stream:
                await self._events(exchange)
            else:
                await self._whole(exchange)
        except ConnectionLost:
            exchange.usage.prompt = 0  # what was delivered counts, a prompt that we lost does not
            raise Unavailable(
                "The replica was lost before the answer was whole.", retry_after=1.0
            ) from None

    async def _whole(self, exchange: Exchange) -> None:
        assert exchange.answer is not None, "dispatch comes before stream"
        body = exchange.first + await exchange.answer.read_all()
        exchange.usage = counts(orjson.loads(body).get("usage"))
        length = (b"content-length", str(len(body)).encode())
        await exchange.start(200, [JSON, length])
        await exchange.write(body, more=False)

    async def _events(self, exchange: Exchange) -> None:
        assert exchange.answer is not None, "dispatch comes before stream"
        events = Events(exchange)
        await exchange.start(200, list(EVENTS))
        piece = exchange.first
        while piece:
            ready = events.feed(piece)
            if ready:
                await exchange.write(ready, more=True)
            piece = await exchange.answer.read()
        await exchange.write(events.rest, more=False)


class Events:
    """Cuts pieces of an event stream at the ends of events, and takes the counts out of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.rest = b""
        """What has come of an event that is not whole."""

    def feed(self, piece: bytes) -> bytes:
        """The whole events so far, without the counts where the caller did not ask for them."""
        if self.rest:
            piece = self.rest + piece
        end = piece.rfind(b"\n\n") + 2
        if end == 1:
            self.rest = piece
            return b""
        ready, self.rest = (piece, b"") if end == len(piece) else (piece[:end], piece[end:])
        # An aborted stream brings no counts: about one event a token is the best that is known.
        self._exchange.usage.completion += ready.count(b"\n\n") - ready.count(DONE)
        if ERROR_EVENT in ready:
            ready = self._take_error(ready)
        if _COUNTS in ready:
            return self._take_counts(ready)
        return ready

    def _take_error(self, ready: bytes) -> bytes:
        """The engine's error in our own shape."""
        self._exchange.error_code = "engine_error"
        self._exchange.usage.prompt = 0  # as for a replica that is lost: what was delivered counts
        kept = []
        for event in ready.split(b"\n\n"):
            if event.startswith(ERROR_EVENT):
                self._exchange.usage.completion -= 1
                told = event.removeprefix(b"data: ")
                status = status_of(told) or 500
                error = from_engine(status, told, ENDPOINTS[self._exchange.endpoint].input)
                event = render_event(error).removesuffix(b"\n\n")
            kept.append(event)
        return b"\n\n".join(kept)

    def _take_counts(self, ready: bytes) -> bytes:
        kept = []
        for event in ready.split(b"\n\n"):
            if _COUNTS in event:
                usage = orjson.loads(event.removeprefix(b"data: ")).get("usage")
                if usage is not None:
                    self._exchange.usage = counts(usage)
                    if not self._exchange.usage_wanted:
                        continue
            kept.append(event)
        return b"\n\n".join(kept)


def status_of(told: bytes) -> int | None:
    """The HTTP status that an error in a stream would have had; None where it names none."""
    try:
        return int(orjson.loads(told)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def counts(usage: dict[str, Any] | None) -> Usage:
    """VLLM's usage object, as numbers."""
    if usage is None:
        return Usage()
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt=usage.get("prompt_tokens", 0),
        completion=usage.get("completion_tokens") or 0,
        cached=details.get("cached_tokens") or 0,
    )
