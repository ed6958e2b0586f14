"""A process that dies at a chosen moment: after so many transactions and calls."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncSession

from cluster.store.sql import Database


class Crash(BaseException):
    """The process is gone."""


class Doom:
    """Counts down over transactions and calls; at zero the process dies. Below, never."""

    def __init__(self, left: int = -1) -> None:
        self.left = left

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


class DoomedDatabase(Database):
    """Dies within a transaction, or right after its commit."""

    doom: Doom

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        async with super().begin() as session:
            yield session
            self.doom.tick()
        self.doom.tick()
