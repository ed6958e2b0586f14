"""Prices of an organization's models, each from some moment on. What has been valid stays."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from redis.asyncio import Redis
from sqlalchemy import delete, func, select

from cluster.catalog.announce import announce
from cluster.catalog.price import Price, check_price
from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.identifiers import new_id
from cluster.store.page import Page, fetch_page
from cluster.store.schema import PriceRow, now
from cluster.store.sql import Database, take_turns

MAX_LIST = 10_000
MAX_COMING = 64
"""Prices of one model that are still to be valid: every router holds them all."""


class Prices:
    """Sets, lists and removes them; routers hear of it at once."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def set(
        self,
        organization_id: str,
        key_id: str,
        model: str,
        price: Price,
        valid_from: datetime | None = None,
    ) -> PriceRow:
        """None is now. A price for the same moment that is still to come is replaced.

        The model need not be there yet. Raises InvalidRequest, as the past has been
        paid for, and Conflict where too many are to come.
        """
        if not 1 <= len(model) <= 255:
            raise InvalidRequest("A model's name has 1 to 255 characters.", param="model")
        check_price(price)
        present = now()
        if valid_from is not None and (valid_from.tzinfo is None or valid_from < present):
            raise InvalidRequest(
                "valid_from must be a time in the future, with its zone: what was used before has "
                "been paid for.",
                param="valid_from",
            )
        row = PriceRow(
            id=new_id("price-"),
            organization_id=organization_id,
            model=model,
            **asdict(price),
            valid_from=valid_from or present,
            key_id=key_id,
        )
        async with self._database.begin() as session:
            await take_turns(session, f"price {organization_id} {model}")
            await session.execute(
                delete(PriceRow).where(
                    PriceRow.organization_id == organization_id,
                    PriceRow.model == model,
                    PriceRow.valid_from == row.valid_from,
                )
            )
            coming = select(func.count()).where(
                PriceRow.organization_id == organization_id,
                PriceRow.model == model,
                PriceRow.valid_from > present,
            )
            if valid_from is not None and (await session.scalar(coming) or 0) >= MAX_COMING:
                raise Conflict(
                    f"There are {MAX_COMING} prices of {model!r} to come; no more are kept."
                )
            session.add(row)
        await announce(self._redis)
        return row

    async def list(
        self,
        organization_id: str,
        *,
        model: str | None = None,
        after: str | None = None,
        limit: int = MAX_LIST,
    ) -> Page[PriceRow]:
        """The latest first, those to come too. Raises InvalidRequest."""
        query = select(PriceRow).where(PriceRow.organization_id == organization_id)
        if model is not None:
            query = query.where(PriceRow.model == model)
        async with self._database.begin() as session:
            return await fetch_page(
                session,
                query,
                (PriceRow.valid_from, PriceRow.id),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
            )

    async def remove(self, organization_id: str, price_id: str) -> None:
        """Take back a price that is still to come. Raises NotFound and Conflict."""
        async with self._database.begin() as session:
            row = await session.get(PriceRow, price_id)
            if row is None or row.organization_id != organization_id:
                raise NotFound(f"There is no price {price_id!r}.", param="price_id")
            if row.valid_from <= now():
                raise Conflict(
                    f"The price {price_id!r} has been valid: set a new one instead.",
                    param="price_id",
                )
            await session.delete(row)
        await announce(self._redis)


def price_of(row: PriceRow) -> Price:
    return Price(row.input, row.cached_input, row.output)
