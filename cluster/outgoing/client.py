"""HTTP to addresses that tenants set: guarded, bounded in time and size, redirects not followed.

No proxy of the environment is used: it would be the one who resolves the name.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import certifi
import httpcore

from cluster.outgoing.allowance import Allowance
from cluster.outgoing.backend import AddressRefused, GuardedBackend

CONNECT = 5.0
"""Seconds for the name, the connection and TLS."""
IDLE = 30.0
"""Seconds for which a connection is kept for the next request."""
MAX_CONNECTIONS = 10_000
"""More than a router has requests in flight, with their copies for shadows."""
MAX_IDLE = 64
"""httpcore looks at all of them for each request."""

Headers = Sequence[tuple[bytes, bytes]]


class BodyTooLarge(Exception):
    """An answer is longer than its reader takes."""


@dataclass(frozen=True)
class Reply:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Incoming:
    """An answer whose body is still to come. Close it, however its reading ends."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self._pieces = aiter(cast(AsyncIterable[bytes], response.stream))
        self.status = response.status
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises httpcore's errors."""
        return await anext(self._pieces, b"")

    async def read_some(self, most: int) -> bytes:
        """The body, or its first `most` bytes."""
        found = b""
        while len(found) < most and (piece := await self.read()):
            found += piece
        return found[:most]

    async def read_all(self, most: int) -> bytes:
        """The whole body. Raises BodyTooLarge where it has more than `most` bytes."""
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise BodyTooLarge(f"the answer has more than {most} bytes")
        return b"".join(pieces)

    async def close(self) -> None:
        """Keep the connection if the body was read to its end, else break it."""
        with contextlib.suppress(httpcore.NetworkError):  # it is closed, one way or the other
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()
            await self._response.aclose()


class Outgoing:
    """A pool of connections for one process."""

    def __init__(self, allowance: Allowance, trust: ssl.SSLContext | None = None) -> None:
        """`trust`: whose certificates are believed, else the system's and the usual ones."""
        self.allowance = allowance
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust or _trust(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE,
            keepalive_expiry=IDLE,
            retries=1,  # of the connection: nothing was sent by then
            network_backend=GuardedBackend(allowance, httpcore.AnyIOBackend()),
        )

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes = b"", *, silence: float
    ) -> Incoming:
        """Send a request; returns once the answer's headers are there.

        `silence`: seconds without a byte after which the other side is taken for gone. Raises
        AddressRefused and httpcore's errors; a ConnectError or ConnectTimeout means that nothing
        was sent. A redirect is an answer like any other.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise AddressRefused(f"{parts.scheme}:// is no HTTP")
        own = [(b"host", parts.netloc.encode()), (b"accept-encoding", b"identity")]
        request = httpcore.Request(
            method,
            url,
            headers=[*own, *headers, *_length(method, body)],
            content=body,
            extensions={
                "timeout": {
                    "connect": min(CONNECT, silence),
                    "read": silence,
                    "write": silence,
                    "pool": CONNECT,
                }
            },
        )
        return Incoming(await self._pool.handle_async_request(request))

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes = b"",
        *,
        silence: float,
        most: int,
    ) -> Reply:
        """The whole answer of up to `most` bytes. Raises what `send` raises, and BodyTooLarge."""
        incoming = await self.send(method, url, headers, body, silence=silence)
        try:
            return Reply(incoming.status, incoming.headers, await incoming.read_all(most))
        finally:
            await incoming.close()

    async def close(self) -> None:
        await self._pool.aclose()


def _length(method: str, body: bytes) -> list[tuple[bytes, bytes]]:
    if not body and method in ("GET", "HEAD"):
        return []
    return [(b"content-length", str(len(body)).encode())]


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """The system's certificates (or those of SSL_CERT_FILE) and, for systems without, Mozilla's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
