"""Pages of a table in the order of creation, by cursor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import InvalidRequest

Item = TypeVar("Item")


class Order(StrEnum):
    ASCENDING = "asc"
    DESCENDING = "desc"


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some rows and whether others follow."""

    items: tuple[Item, ...]
    has_more: bool


async def fetch_page(
    session: AsyncSession,
    query: Select[Item],
    keys: tuple[Any, ...],
    *,
    after: str | None,
    limit: int,
    max_limit: int,
    order: Order = Order.DESCENDING,
) -> Page[Item]:
    """The rows of `query` after the one whose `id` is `after`, by the columns `keys`.

    Raises InvalidRequest for a limit out of range or a cursor that `query` does not hold.
    """
    if not 1 <= limit <= max_limit:
        raise InvalidRequest(f"limit is {limit}; allowed are 1 to {max_limit}.", param="limit")
    if after is not None:
        cursor = (
            await session.execute(query.with_only_columns(*keys).where(keys[0].class_.id == after))
        ).one_or_none()
        if cursor is None:
            raise InvalidRequest(f"after is {after!r}, which is not in this list.", param="after")
        place: ColumnElement[Any] = tuple_(*keys)
        here = tuple_(*(literal(value, key.type) for value, key in zip(cursor, keys, strict=True)))
        query = query.where(place > here if order is Order.ASCENDING else place < here)
    sorted_query = query.order_by(
        *(key.asc() if order is Order.ASCENDING else key.desc() for key in keys)
    )
    found = list(await session.scalars(sorted_query.limit(limit + 1)))
    return Page(tuple(found[:limit]), len(found) > limit)
