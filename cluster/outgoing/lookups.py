"""The addresses of host names, so that a name service that is slow delays only its own hosts.

What resolves a name holds a thread until the name service has answered or the system gives up,
whoever has stopped waiting: the threads of the process would soon all be one slow tenant's.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

from cluster.outgoing.allowance import Address, literal

THREADS = 128
"""More than the hosts that one organization can have connections to."""
SLOW = 2.0
"""Seconds from which on a look-up that somebody gave up was the name service's fault."""
AVOID = 30.0
"""Seconds for which a host whose look-up was too slow is not looked up again."""


class Lookups:
    """Asks once for all who want a host's addresses at the same time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "lookup")
        self._pending: dict[str, Future[list[Address]]] = {}
        self._begun: dict[str, float] = {}
        self._avoided: dict[str, float] = {}
        """Hosts, and until when."""

    async def find(self, host: str) -> list[Address]:
        """Raises OSError and UnicodeError for a name that leads nowhere, and TimeoutError for one
        that was too slow a moment ago."""
        address = literal(host)
        if address is not None:
            return [address]
        host = host.lower()
        if self._avoided.get(host, 0.0) > monotonic():
            raise TimeoutError
        asking = self._pending.get(host)
        if asking is None:
            asking = self._pending[host] = self._threads.submit(self._ask, host)
            loop = asyncio.get_running_loop()
            asking.add_done_callback(
                lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._end, host)
            )
        try:
            # Shielded: the answer is for all who wait, not only for who asked first.
            return await asyncio.shield(asyncio.wrap_future(asking))
        except asyncio.CancelledError:
            self._leave(host)
            raise

    def _ask(self, host: str) -> list[Address]:
        self._begun[host] = monotonic()
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        # An address of one link comes with that link's name, which is not part of it.
        texts = dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found)
        return [address for text in texts if (address := literal(text)) is not None]

    def _end(self, host: str) -> None:
        self._pending.pop(host, None)
        self._begun.pop(host, None)

    def _leave(self, host: str) -> None:
        """Avoid a host that somebody gave up, unless it only waited for a thread."""
        now = monotonic()
        if now - self._begun.get(host, now) >= SLOW:
            self._avoided = {each: end for each, end in self._avoided.items() if end > now}
            self._avoided[host] = now + AVOID
