"""The adapters that replicas should have, read anew only where something about them changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, select

from cluster.catalog.lifecycle import WANTED, AdapterState
from cluster.store.schema import Adapter
from cluster.store.sql import Database

READ_ANYWAY = 60.0
"""Seconds: two changes of one moment may cancel out in what is compared."""


@dataclass(frozen=True)
class _Read:
    rows: Sequence[Adapter]
    stamp: tuple[Any, ...]
    at: float

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.at >= READ_ANYWAY


class WantedAdapters:
    """Thousands of rows that several processes ask for every second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: dict[str | None, _Read] = {}

    async def read(self, base_model: str | None = None) -> Sequence[Adapter]:
        """Those of one base model or of all, oldest first. They are for reading only."""
        wanted = and_(Adapter.state.in_(WANTED))
        if base_model is not None:
            wanted = and_(wanted, Adapter.base_model == base_model)
        stamp = select(
            func.count(),
            # Not alone: who began first may commit last.
            func.max(Adapter.updated_at),
            func.sum(case((Adapter.pinned, 1), else_=0)),
            func.sum(case((Adapter.state == AdapterState.PUBLISHED, 1), else_=0)),
        ).where(wanted)
        known = self._reads.get(base_model)
        async with self._database.begin() as session:
            now = (*(await session.execute(stamp)).one(),)
            if known is not None and known.stamp == now and not known.is_old:
                return known.rows
            rows = (
                await session.scalars(select(Adapter).where(wanted).order_by(Adapter.created_at))
            ).all()
        self._reads[base_model] = _Read(rows, now, time.monotonic())
        return rows
