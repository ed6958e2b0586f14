"""Stores answers that have been made: while a caller waits for the last word of one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import literal, select

from cluster.errors import Unavailable
from cluster.store.sql import Database, within

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a caller waits for the store. A fail-over may take less."""
PAUSE = 0.2


class Saver:
    def __init__(self, database: Database, patience: float = PATIENCE) -> None:
        self._database = database
        self._patience = patience
        self._saving: set[asyncio.Task[bool]] = set()

    async def reach(self) -> None:
        """Raises Unavailable where nothing could be stored now. Asked before tokens are made."""
        async with within(self._patience), self._database.begin() as session:
            await session.execute(select(literal(1)))

    async def save(self, what: str, saving: Callable[[], Awaitable[None]]) -> bool:
        """Whether `saving`, which may run twice, has stored it. The answer was paid for: a store
        that is away is logged, and does not take it from its caller.

        A caller who leaves meanwhile ends the wait and not the storing.
        """
        task = asyncio.create_task(self._insist(what, saving))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)
        # It ends by itself; a database that can't even be left is not waited for.
        done, _ = await asyncio.wait({task}, timeout=self._patience + 1)
        return bool(done) and task.result()

    async def _insist(self, what: str, saving: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    try:
                        await saving()
                    except Unavailable:
                        await asyncio.sleep(PAUSE)
                    else:
                        return True
        except TimeoutError:
            log.error("%s is not stored: the database was away for %g s", what, self._patience)
        except Exception:
            log.exception("%s is not stored", what)
        return False
