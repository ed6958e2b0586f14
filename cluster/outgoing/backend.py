"""Connections that go to exactly the address that was judged, resolved at that moment.

A name that is judged first and resolved anew by who connects could lead elsewhere in between.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from cluster.outgoing.allowance import Address, Allowance

Option = Any
"""A socket option, in one of the forms that `socket.setsockopt` takes."""


class AddressRefused(Exception):
    """The host leads to no address that may be called. Nothing was sent."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, judges, and connects to what was judged. Never to a unix socket."""

    def __init__(self, allowance: Allowance, inner: httpcore.AsyncNetworkBackend) -> None:
        self._allowance = allowance
        self._inner = inner

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
                found = await self._resolve(host, port)
                allowed = [each for each in found if self._allowance.covers(host, each, port)]
                if not allowed:
                    raise AddressRefused(f"{host} leads to no address that may be called")
                each = None if timeout is None else timeout / len(allowed)
                return await self._connect(allowed, port, each, local_address, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} took more than {timeout} s") from None

    async def _resolve(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from error
        # An address of one link comes with that link's name, which is not part of it.
        texts = dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found)
        return [ip_address(text) for text in texts]

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
