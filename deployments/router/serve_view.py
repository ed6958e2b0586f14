"""The applications as Serve's controller sees them."""

from __future__ import annotations

import asyncio
import time

import anyio.to_thread
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeStatus

from cluster.errors import Unavailable

STALE = 1.0
"""Seconds for which one answer of the controller serves all callers."""
PATIENCE = 5.0
"""Seconds until a controller that does not answer is taken for away. Ray itself waits for ever."""


class ServeView:
    """Asks the controller at most once a second, and never twice at the same time."""

    def __init__(self) -> None:
        self._at = 0.0
        self._status: ServeStatus | None = None
        self._asking: asyncio.Task[ServeStatus] | None = None

    async def read(self) -> ServeStatus:
        """Raises Unavailable where the controller does not answer."""
        if self._status is not None and time.monotonic() - self._at <= STALE:
            return self._status
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(PATIENCE):
                # Shielded: a thread that hangs can't be ended, so nobody may start another.
                return await asyncio.shield(self._asking)
        except (RayError, RayServeException, TimeoutError) as error:
            raise Unavailable("Ray Serve's controller does not answer.") from error

    async def _ask(self) -> ServeStatus:
        self._status = await anyio.to_thread.run_sync(serve.status)
        self._at = time.monotonic()
        return self._status
