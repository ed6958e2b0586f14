"""Connections that go to exactly the address that was judged, resolved at that moment.

A name that is judged first and resolved anew by who connects could lead elsewhere in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpcore

from cluster.outgoing.allowance import Address, Allowance
from cluster.outgoing.lookups import Lookups

Option = Any
"""A socket option, in one of the forms that `socket.setsockopt` takes."""


class AddressRefused(Exception):
    """The host leads to no address that may be called. Nothing was sent."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, judges, and connects to what was judged. Never to a unix socket."""

    def __init__(self, allowance: Allowance, inner: httpcore.AsyncNetworkBackend) -> None:
        self._allowance = allowance
        self._inner = inner
        self._lookups = Lookups()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises AddressRefused, and what httpcore's own raises."""
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host)
                allowed = [each for each in found if self._allowance.covers(host, each, port)]
                if not allowed:
                    raise AddressRefused(f"{host} leads to no address that may be called")
                each = None if timeout is None else timeout / len(allowed)
                return await self._connect(allowed, port, each, local_address, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} took too long to find or to answer") from None

    async def _resolve(self, host: str) -> list[Address]:
        try:
            return await self._lookups.find(host)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from error

    async def _connect(
        self,
        addresses: list[Address],
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[Option] | None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first address that answers. Given an address, httpcore resolves nothing."""
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(
            str(addresses[-1]), port, timeout, local_address, socket_options
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a unix socket is no address that may be called")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
