"""A lease in SQL: of several processes one may act, and its transactions prove that it may."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.identifiers import new_id
from cluster.store.schema import LeaseRow, now
from cluster.store.sql import Database


class LeaseLost(Exception):
    """Another process acts now."""


class Lease:
    """The newest process takes the lease at once, for a restart must not wait for an expiry.

    One that lost it may have it back only when nobody has renewed it for `seconds`.
    """

    def __init__(self, database: Database, name: str, *, seconds: float = 15.0) -> None:
        self._database = database
        self._name = name
        self._term = timedelta(seconds=seconds)
        self.taken = False
        self.owner = new_id("owner-")

    async def renew(self) -> bool:
        """Whether this process may act now."""
        if not self.taken:
            await self._take()
            self.taken = True
            return True
        async with self._database.begin() as session:
            return await self._write(session, expired=True)

    async def hold(self, session: AsyncSession) -> None:
        """Lock the lease for the transaction. Raises LeaseLost."""
        if not await self._write(session, expired=False):
            raise LeaseLost(self._name)

    async def _write(self, session: AsyncSession, *, expired: bool) -> bool:
        mine = LeaseRow.owner == self.owner
        moment = now()
        holder = await session.scalar(
            update(LeaseRow)
            .where(LeaseRow.name == self._name)
            .where(or_(mine, LeaseRow.until < moment) if expired else mine)
            .values(owner=self.owner, until=moment + self._term)
            .returning(LeaseRow.owner)
            .execution_options(synchronize_session=False)
        )
        return holder is not None

    async def _take(self) -> None:
        until = now() + self._term
        for _ in range(2):  # a second time where another process made the row in between
            async with self._database.begin() as session:
                found = await session.scalar(
                    update(LeaseRow)
                    .where(LeaseRow.name == self._name)
                    .values(owner=self.owner, until=until)
                    .returning(LeaseRow.name)
                    .execution_options(synchronize_session=False)
                )
            if found is not None:
                return
            try:
                async with self._database.begin() as session:
                    session.add(LeaseRow(name=self._name, owner=self.owner, until=until))
                return
            except IntegrityError:
                continue
