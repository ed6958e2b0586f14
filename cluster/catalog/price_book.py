"""All prices, in memory, as fresh as Redis and SQL allow."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased

from cluster.catalog.price import FREE, Price
from cluster.catalog.prices import price_of
from cluster.errors import LorikeetError
from cluster.store.schema import PriceRow, now
from cluster.store.sql import Database
from cluster.waiting import happens

log = logging.getLogger(__name__)
POLL = 5.0
LONGEST = timedelta(days=1)
"""More than a request takes, which costs what held when it began."""

Prices = list[tuple[datetime, Price]]
"""Of one model, the latest first."""


class PriceBook:
    """Answers without any I/O. `refresh` reads SQL; `watch` keeps calling it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._prices: dict[str, dict[str, Prices]] = {}
        """By organization and model."""

    def find(self, organization_id: str, names: Iterable[str], at: datetime) -> Price:
        """The price at a moment of the first of these names that has one; else all is free."""
        own = self._prices.get(organization_id)
        if own is None:
            return FREE
        for name in names:
            for valid_from, price in own.get(name, ()):
                if valid_from <= at:
                    return price
        return FREE

    async def refresh(self) -> None:
        async with self._database.begin() as session:
            rows = (await session.scalars(_needed(now() - LONGEST))).all()
        found: dict[str, dict[str, Prices]] = defaultdict(lambda: defaultdict(list))
        for row in sorted(rows, key=lambda row: row.valid_from, reverse=True):
            found[row.organization_id][row.model].append((row.valid_from, price_of(row)))
        self._prices = {own: dict(models) for own, models in found.items()}

    async def watch(self, changes: asyncio.Event) -> None:
        """Refresh at each change, and every few seconds in case one was missed."""
        while True:
            changes.clear()
            try:
                await self.refresh()
            except LorikeetError as error:
                log.warning("prices not refreshed, the last ones stay in use: %s", error)
            await happens(changes, POLL)


def _needed(since: datetime) -> Select[PriceRow]:
    """The prices that hold at that moment or begin later."""
    older = aliased(PriceRow)
    last = select(func.max(older.valid_from)).where(
        older.organization_id == PriceRow.organization_id,
        older.model == PriceRow.model,
        older.valid_from <= since,
    )
    held = func.coalesce(last.scalar_subquery(), PriceRow.valid_from)
    return select(PriceRow).where(PriceRow.valid_from >= held)
