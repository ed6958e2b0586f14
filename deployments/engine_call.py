"""A request to an ASGI app inside a replica, by a call of the replica's method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from starlette.types import ASGIApp, Message

WINDOW = 0.008
"""Seconds for which the pieces of an answer are joined, after the first one."""
HIGH_WATER = 1 << 20
"""Bytes waiting for a slow caller at which the app has to wait."""


class Piece(NamedTuple):
    """Some bytes of an answer's body, with the answer's status."""

    status: int
    body: bytes


class Call:
    """One request and what its answer has brought so far: the app's `receive` and `send`."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._taken = asyncio.Event()
        self.news = asyncio.Event()
        self.status = 0

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            # A caller who leaves closes the generator, which cancels the app.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        body = message.get("body", b"")
        if not body:
            return
        self._pieces.append(body)
        self._buffered += len(body)
        self.news.set()
        if self._buffered > HIGH_WATER:
            self._taken.clear()
            await self._taken.wait()

    def take(self) -> bytes:
        """All that has come since the last time."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        self.news.clear()
        self._taken.set()
        return body


async def call(app: ASGIApp, path: str, headers: bytes, body: bytes) -> AsyncGenerator[Piece, None]:
    """Post `body` to `path` of `app`; at least one piece comes, and the first one at once.

    `headers` are lines as HTTP/1.1 has them. Closing the generator ends the request. Raises what
    the app raises.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [_header(line) for line in headers.split(b"\r\n") if line],
        "client": None,
        "server": ("engine", None),
    }
    asked = Call(body)
    serving = asyncio.ensure_future(app(scope, asked.receive, asked.send))
    serving.add_done_callback(lambda _: asked.news.set())
    begun = False
    try:
        while True:
            await asked.news.wait()
            if begun and not serving.done():
                await asyncio.wait({serving}, timeout=WINDOW)
            over = serving.done()
            if over:
                serving.result()
            piece = asked.take()
            if piece or not begun:
                begun = True
                yield Piece(asked.status, piece)
            if over:
                return
    finally:
        serving.cancel()
        await asyncio.wait({serving})


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip()
