"""A provider's answer as the caller is to have it, while it comes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import httpcore

from cluster.catalog.connection import Credentials
from cluster.errors import LorikeetError
from cluster.outgoing.backend import AddressRefused
from cluster.outgoing.client import BodyTooLarge, Incoming
from deployments.router.remote.faults import from_transport, garbage
from deployments.router.remote.passage import Passage
from deployments.router.remote.sse import Cutter, EventTooLarge

TRANSPORT = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
    AddressRefused,
)
"""What comes instead of bytes."""
DRAIN = 1.0
"""Seconds for a connection to become free for the next request, once all is said."""
MOST_HELD = 4 * 2**20
"""Bytes of silent events that wait. Some repeat the whole request."""


class StreamedAnswer:
    """Events, each in the caller's dialect, as soon as they are there."""

    status = 200
    counted = False

    def __init__(
        self,
        incoming: Incoming,
        passage: Passage,
        own: Credentials,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """`tasks` keeps the closing of connections alive until it is done."""
        self._incoming = incoming
        self._passage = passage
        self._own = own
        self._tasks = tasks
        self._cutter = Cutter()
        self._fault: LorikeetError | None = None
        self._over = False

    async def begin(self) -> bytes:
        """The first bytes, with an event that says something: what fails before it is no stream
        yet, and another destination can answer. Raises LorikeetError."""
        held = bytearray()
        while not self._passage.under_way and len(held) < MOST_HELD:
            piece = await self.read()
            if not piece:
                break
            held += piece
        return bytes(held)

    async def read(self) -> bytes:
        """Raises LorikeetError, once everything before the failure has been read."""
        while self._fault is None and not self._over:
            made: list[bytes] = []
            try:
                await self._take(made)
            except LorikeetError as error:
                error.message = self._own.masked(error.message)
                self._fault = error
            if ready := b"".join(made):
                return ready
        if self._fault is not None:
            # As for a replica that is lost: what was delivered counts, a prompt that was lost not.
            self._passage.exchange.usage.prompt = 0
            raise self._fault
        return b""

    async def read_all(self) -> bytes:
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def _take(self, made: list[bytes]) -> None:
        """Make of the next piece what it comes to."""
        provider = self._passage.provider
        try:
            piece = await self._incoming.read()
            events = self._cutter.feed(piece) if piece else self._cutter.finish()
        except TRANSPORT as error:
            raise from_transport(provider, error) from error
        except EventTooLarge as error:
            raise garbage(provider, str(error)) from None
        for event in events:
            made.append(self._passage.feed(event))  # noqa: PERF401 - keeps what came before a failure
        if not piece and not self._passage.done:
            made.append(self._passage.end())
        self._over = self._passage.done or not piece

    def close(self) -> None:
        """Give the connection back; one whose answer has not come to its end is broken."""
        task = asyncio.create_task(self._close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        try:
            if self._passage.done:
                with contextlib.suppress(TimeoutError, *TRANSPORT):
                    async with asyncio.timeout(DRAIN):
                        while await self._incoming.read():
                            pass
        finally:
            await self._incoming.close()


async def whole(incoming: Incoming, provider: str, most: int) -> bytes:
    """The body of an answer that does not stream. Raises LorikeetError."""
    try:
        return await incoming.read_all(most)
    except TRANSPORT as error:
        raise from_transport(provider, error) from error
    except BodyTooLarge:
        raise garbage(provider, f"more than {most} bytes") from None
