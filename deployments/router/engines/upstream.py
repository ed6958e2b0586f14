"""A small HTTP/1.1 client for the engines' sockets: few objects and few wake-ups a request.

It does what a general client would, minus what this hop never needs (redirects, cookies,
decoding, proxies), because every Python cycle here is taken from the tokens. Responses are parsed
by httptools; connections are kept and reused.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Callable
from typing import cast

import httptools

from deployments.router.answer import ConnectionLost

WINDOW = 0.008
"""Seconds for which the pieces of a stream are joined, after the first one."""
CONNECT = 3.0
"""Seconds until a replica that does not answer is taken for gone."""
SILENCE = 10
"""Seconds until a node that answers no packet is taken for gone. An engine may be silent longer."""
PROBE = 3
"""Seconds between the packets that ask."""
MOST = 1 << 28
"""Bytes of an answer that is read whole; an engine that sends more has gone wrong."""
HIGH_WATER = 1 << 20
"""Bytes waiting for a slow caller at which the engine's socket is read no more."""


class EngineAnswer(asyncio.Protocol):
    """One connection and the response on it. Reused for request after request."""

    counted = False

    def __init__(
        self, release: Callable[[EngineAnswer], None], discard: Callable[[EngineAnswer], None]
    ) -> None:
        """`release` takes a connection that can be used again, `discard` one that has broken."""
        self._release = release
        self._discard = discard
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._reused = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._whole = False
        self._keep_alive = False
        self._heard = False
        self._begun = False
        self._asked = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.status = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._asked or self._whole:
            # Nobody asked for it. Kept, it would be taken for the answer to the next request.
            self.interrupt()
            return
        try:
            self._heard = True
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.interrupt()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._wake()
        self._discard(self)

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self._whole:  # a second answer to one request
            self.interrupt()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._whole:
            return
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True
        if not self._begun:
            self._begun = True
            self._wake()
        elif self._timer is None and self._waiter is not None:
            self._timer = self._loop.call_later(WINDOW, self._wake)

    def on_message_complete(self) -> None:
        self._whole = True
        self._keep_alive = self._parser.should_keep_alive()
        self._wake()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the router calls.

    def write(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None, "connected"
        self._asked = True
        self._transport.write(head + body)

    @property
    def usable(self) -> bool:
        return not self._lost and self._transport is not None and not self._transport.is_closing()

    @property
    def stale(self) -> bool:
        """A kept connection that broke before a byte of this response: it was broken already."""
        return self._reused and self._lost and not self._heard

    async def read(self) -> bytes:
        """The next pieces of the body, joined; empty at its end. Raises ConnectionLost."""
        while not self._pieces:
            if self._whole:
                return b""
            await self._wait()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return body

    async def read_all(self) -> bytes:
        """The whole body. Raises ConnectionLost."""
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > MOST:
                raise ConnectionLost
        return b"".join(pieces)

    async def _wait(self) -> None:
        if self._lost:
            raise ConnectionLost
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def interrupt(self) -> None:
        """Break the connection: the engine stops the generation."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Done with this response: keep the connection if it is whole, else break it."""
        # Paused, it has a megabyte that nobody read: another one is cheaper than to wake it.
        if self._whole and self.usable and self._keep_alive and not self._paused:
            self._reset()
            self._reused = True
            self._release(self)
        else:
            self.interrupt()


class Upstreams:
    """Connections by address. An address is a unix socket's path or `host:port`."""

    def __init__(self) -> None:
        self._idle: dict[str, list[EngineAnswer]] = defaultdict(list)

    async def post(
        self, address: str, path: str, headers: bytes, body: bytes, *, fresh: bool = False
    ) -> EngineAnswer:
        """Send a request, where `fresh` on a new connection; its status is known after a `read`.

        Raises OSError where nobody listens: then nothing was sent.
        """
        head = b"POST %b HTTP/1.1\r\nhost: engine\r\n%bcontent-length: %d\r\n\r\n" % (
            path.encode(),
            headers,
            len(body),
        )
        idle = self._idle[address]
        while idle and not fresh:
            answer = idle.pop()
            if answer.usable:
                answer.write(head, body)
                return answer
        answer = await self._connect(address)
        answer.write(head, body)
        return answer

    async def _connect(self, address: str) -> EngineAnswer:
        loop = asyncio.get_running_loop()

        def protocol() -> EngineAnswer:
            # Looked up when it is released: by then the address may have been forgotten.
            return EngineAnswer(
                lambda answer: self._idle[address].append(answer),
                lambda answer: self._discard(address, answer),
            )

        async with asyncio.timeout(CONNECT):
            if address.startswith("/"):
                _, answer = await loop.create_unix_connection(protocol, address)
            else:
                host, _, port = address.rpartition(":")
                transport, answer = await loop.create_connection(protocol, host, int(port))
                _notice_loss(transport.get_extra_info("socket"))
        return answer

    def _discard(self, address: str, answer: EngineAnswer) -> None:
        """A replica that stops closes its connections: none is kept for an address that is gone."""
        idle = self._idle.get(address, [])
        if answer in idle:
            idle.remove(answer)
        if not idle:
            self._idle.pop(address, None)

    def forget(self, address: str) -> None:
        """Close the idle connections to a replica that has gone."""
        for answer in self._idle.pop(address, []):
            answer.interrupt()


def _notice_loss(connection: socket.socket) -> None:
    """Have the kernel break a connection to a node that vanished, which says no goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE)
    # The bound for what was sent and not acknowledged, be it a request or a probe.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
