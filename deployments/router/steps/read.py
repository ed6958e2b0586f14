"""Step 2a: the body, within bounds."""

from __future__ import annotations

from cluster.errors import InvalidRequest, TooLarge
from deployments.router.exchange import ClientGone, Exchange


class Read:
    def __init__(self, body_max_bytes: int) -> None:
        self._limit = body_max_bytes

    async def __call__(self, exchange: Exchange) -> None:
        for name, value in exchange.scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                raise self._too_large(int(value))
        exchange.body = await self._body(exchange)

    async def _body(self, exchange: Exchange) -> bytes:
        pieces, size, more = [], 0, True
        while more:
            message = await exchange.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._limit:
                raise self._too_large(size)
            pieces.append(piece)
            more = message.get("more_body", False)
        body = b"".join(pieces)
        if not body:
            raise InvalidRequest("The body is empty; it must be a JSON object.")
        return body

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(f"The body has {size} bytes or more; at most {self._limit} are taken.")
