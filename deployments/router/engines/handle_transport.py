"""The way to a replica through Serve's handle: slower, and by nothing but Serve's public API.

Serve chooses the replica itself, so what the pool knows of adapters and of load has no say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import anyio.to_thread
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.catalog.replicas import Replica
from deployments.engine_call import Piece
from deployments.router.answer import ConnectionLost

CONNECT = 3.0
"""Seconds until a controller that does not answer is taken for away."""


class Pieces(Protocol):
    """As much of Serve's DeploymentResponseGenerator as is used."""

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    async def __anext__(self) -> Piece: ...

    def cancel(self) -> None: ...


class HandleAnswer:
    """A response that comes from a replica's method, piece by piece."""

    counted = False
    stale = False
    """Nothing is kept from one request to the next."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._ended = False
        self.status = 0

    async def read(self) -> bytes:
        if self._ended:
            return b""
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._ended = True
            return b""
        except (RayError, RayServeException) as error:
            self._ended = True
            raise ConnectionLost from error
        self.status = piece.status
        return piece.body

    async def read_all(self) -> bytes:
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if not self._ended:
            self._pieces.cancel()


class HandleTransport:
    """A fall-back for clusters on which replicas' sockets can't be used."""

    def __init__(self, handle: Callable[[str], Any] = serve.get_app_handle) -> None:
        """`handle` gives the handle of an application, and raises where there is none."""
        self._find = handle
        self._handles: dict[str, Any] = {}

    def reaches(self, replica: Replica) -> bool:
        return bool(replica.application)

    async def post(
        self, replica: Replica, path: str, headers: bytes, body: bytes, *, fresh: bool = False
    ) -> HandleAnswer:
        handle = await self._handle(replica.application)
        return HandleAnswer(handle.call.remote(path, headers, body))

    def forget(self, replica: Replica) -> None:
        """A handle follows its deployment by itself."""

    async def _handle(self, application: str) -> Any:
        handle = self._handles.get(application)
        if handle is None:
            try:
                async with asyncio.timeout(CONNECT):
                    found = await anyio.to_thread.run_sync(
                        self._find, application, abandon_on_cancel=True
                    )
            except (RayError, RayServeException) as error:
                raise ConnectionError(f"Serve has no application {application!r}") from error
            handle = self._handles[application] = found.options(stream=True)
        return handle
