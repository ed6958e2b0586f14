"""The supervisor's steps go on, whatever one of them meets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cluster.errors import Unavailable
from deployments.supervisor import _every


@pytest.mark.parametrize("error", [Unavailable("no database"), RuntimeError("no controller")])
async def test_a_step_that_fails_is_tried_again(error: Exception) -> None:
    tries = 0
    done = asyncio.Event()

    async def step() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        done.set()

    task = asyncio.create_task(_every(0.01, asyncio.Event(), step))
    async with asyncio.timeout(10):
        await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert tries >= 2
