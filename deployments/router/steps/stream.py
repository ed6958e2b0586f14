"""Step 7: the engine's bytes to the caller, and the token counts out of them."""

from __future__ import annotations

import time
from typing import Any

import orjson

from cluster.errors import Unavailable, UpstreamFailed
from deployments.router.answer import ConnectionLost
from deployments.router.dialects.openai.errors import from_engine
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange, Usage

JSON = (b"content-type", b"application/json")
EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Stream:
    async def __call__(self, exchange: Exchange) -> None:
        answer = exchange.answer
        assert answer is not None, "dispatch comes before stream"
        exchange.first_token_at = time.perf_counter()
        try:
            if answer.status != 200:
                exchange.usage = Usage()
                told = exchange.first + await answer.read_all()
                source, fields = ENDPOINTS[exchange.endpoint].input, exchange.document.keys()
                raise from_engine(answer.status, told, source, fields)
            if exchange.stream:
                await self._events(exchange)
            else:
                await self._whole(exchange)
        except ConnectionLost:
            exchange.usage.prompt = 0  # what was delivered counts, a prompt that we lost does not
            raise Unavailable(
                "The replica was lost before the answer was whole.", retry_after=1.0
            ) from None
        except UpstreamFailed:
            exchange.usage.prompt = 0
            raise

    async def _whole(self, exchange: Exchange) -> None:
        assert exchange.answer is not None, "dispatch comes before stream"
        body = exchange.first + await exchange.answer.read_all()
        if not exchange.answer.counted:
            exchange.usage = ENDPOINTS[exchange.endpoint].dialect.counts(_document(body))
        if exchange.record is not None:
            body = await exchange.record.whole(body)
        length = (b"content-length", str(len(body)).encode())
        await exchange.start(200, [JSON, length])
        await exchange.write(body, more=False)

    async def _events(self, exchange: Exchange) -> None:
        assert exchange.answer is not None, "dispatch comes before stream"
        events = ENDPOINTS[exchange.endpoint].dialect.events(exchange)
        await exchange.start(200, list(EVENTS))
        piece = exchange.first
        while piece:
            try:
                ready = events.feed(piece)
            except orjson.JSONDecodeError:
                raise _garbled("an event that is not JSON") from None
            if ready:
                if exchange.record is not None:
                    ready = await exchange.record.events(ready)
                await exchange.write(ready, more=True)
            piece = await exchange.answer.read()
        if events.rest:
            raise _garbled("the first part of an event as its last")
        await exchange.write(b"", more=False)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise _garbled("an answer that is not a JSON object")
    return document


def _garbled(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The engine sent {what}.")
