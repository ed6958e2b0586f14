"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio


async def happens(event: asyncio.Event, within: float) -> bool:
    """Whether `event` was set within so many seconds.

    Not by `asyncio.wait_for`: on Python 3.11 it can swallow a cancellation that comes together
    with the result, and a loop that misses its cancellation never ends.
    """
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
