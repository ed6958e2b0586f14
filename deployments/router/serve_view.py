"""The applications as Serve's controller sees them."""

from __future__ import annotations

import time

import anyio.to_thread
from ray import serve
from ray.serve.schema import ServeStatus

STALE = 1.0
"""Seconds for which one answer of the controller serves all callers."""


class ServeView:
    """Asks the controller at most once a second."""

    def __init__(self) -> None:
        self._at = 0.0
        self._status: ServeStatus | None = None

    async def read(self) -> ServeStatus:
        if self._status is None or time.monotonic() - self._at > STALE:
            self._status = await anyio.to_thread.run_sync(serve.status)
            self._at = time.monotonic()
        return self._status
