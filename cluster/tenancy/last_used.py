"""When keys were last used, written in bunches off the request path."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from sqlalchemy import or_, update

from cluster.errors import Unavailable
from cluster.store.schema import ApiKey, now
from cluster.store.sql import Database

log = logging.getLogger(__name__)

BUNCH = 500


class LastUsed:
    """Collects key ids; `run` writes them down once a minute."""

    def __init__(self, database: Database, *, interval: float = 60.0) -> None:
        self._database = database
        self._interval = interval
        self._used: set[str] = set()
        self.mark = self._used.add
        """Called for every request, so it is the set's own method."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        ids = sorted(self._used)  # sorted: routers that write together lock rows in one order
        self._used.clear()
        at = now()
        stale = or_(
            ApiKey.last_used_at.is_(None),
            ApiKey.last_used_at < at - timedelta(seconds=self._interval / 2),
        )
        try:
            for start in range(0, len(ids), BUNCH):
                bunch = ids[start : start + BUNCH]
                async with self._database.begin() as session:
                    await session.execute(
                        update(ApiKey).where(ApiKey.id.in_(bunch), stale).values(last_used_at=at)
                    )
        except Unavailable as error:  # worth a minute's precision, not a retry
            log.warning("last_used_at of %d keys was not written: %s", len(ids), error)
        except Exception:  # nor the end of the loop
            log.exception("last_used_at of %d keys was not written", len(ids))
