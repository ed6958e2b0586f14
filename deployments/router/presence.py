"""Notices that a caller has gone while nothing is read from them, and stops their request."""

from __future__ import annotations

import asyncio

from deployments.router.exchange import Exchange


def watch(exchange: Exchange) -> None:
    """Cancel the present task once the caller disconnects. The body must have been read."""
    serving = asyncio.current_task()
    assert serving is not None, "called by the task that serves the request"

    async def wait() -> None:
        while True:
            message = await exchange.receive()
            if message["type"] == "http.disconnect":
                exchange.gone = True
                serving.cancel()
                return

    watcher = asyncio.create_task(wait())
    exchange.cleanup.append(watcher.cancel)
