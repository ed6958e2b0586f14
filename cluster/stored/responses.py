"""Stored responses: each has what its request added, and names the one that it continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import CTE, delete, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import InvalidRequest, NotFound
from cluster.store.page import Order, Page
from cluster.store.schema import StoredResponse, now
from cluster.store.sql import Database, insert_missing, within
from cluster.stored.excerpt import excerpt
from cluster.stored.items import Item, carried, shown
from cluster.tenancy.principal import Principal

MAX_CHAIN = 1000
"""Responses that continue one another. Each costs a row to read."""
RECALL_WITHIN = 10.0
"""Seconds that a caller waits for all of them."""


@dataclass(frozen=True, slots=True)
class Past:
    """All that went before a response, the oldest first."""

    response_id: str
    """The last one of it."""
    thread_id: str
    items: Sequence[Item]
    bytes: int


class Responses:
    """The one owner of stored responses."""

    def __init__(self, database: Database, max_bytes: int) -> None:
        """`max_bytes`: of all that a response may continue."""
        self._database = database
        self._max_bytes = max_bytes

    async def add(
        self, who: Principal, input_items: Sequence[Item], answer: dict[str, Any], past: Past | None
    ) -> None:
        """Keep `answer`. Twice is once, so that it may be tried again."""
        added = [*input_items, *carried(answer["output"])]
        row = {
            "id": answer["id"],
            "organization_id": who.organization_id,
            "project_id": who.project_id,
            "key_id": who.key_id,
            "thread_id": answer["id"] if past is None else past.thread_id,
            "previous_id": None if past is None else past.response_id,
            "input": list(input_items),
            "answer": answer,
            "bytes": len(orjson.dumps(added)),
            "created_at": now(),
        }
        async with self._database.begin() as session:
            await insert_missing(session, StoredResponse, [row])

    async def get(self, organization_id: str, response_id: str) -> dict[str, Any]:
        async with self._database.begin() as session:
            return (await _row(session, organization_id, response_id)).answer

    async def delete(self, organization_id: str, response_id: str) -> None:
        """What continues it can be read as before, but not be continued."""
        async with self._database.begin() as session:
            row = await _row(session, organization_id, response_id)
            await session.execute(delete(StoredResponse).where(StoredResponse.id == row.id))

    async def recall(self, organization_id: str, response_id: str) -> Past:
        """What a continuation of `response_id` continues.

        Raises NotFound for a response that is not there, itself or one that it continues,
        InvalidRequest for more than may be continued, and Unavailable where it takes too long.
        """
        links = _links(organization_id, response_id)
        async with within(RECALL_WITHIN), self._database.begin() as session:
            sizes = (await session.scalars(select(links.c.bytes))).all()
            self._check(len(sizes), sum(sizes))
            rows = await _rows(session, links)
        if not rows:
            raise _gone(f"Previous response with id {response_id[:200]!r} not found.")
        first = rows[0]
        if first.previous_id is not None:
            raise _gone(
                f"Response {first.previous_id!r}, which {response_id!r} continues, is not there "
                "any more."
            )
        return Past(response_id, first.thread_id, _past(rows), sum(sizes))

    def _check(self, responses: int, size: int) -> None:
        for given, what, most in (
            (responses, "responses", MAX_CHAIN), (size, "bytes", self._max_bytes)
        ):  # fmt: skip
            if given > most:
                raise InvalidRequest(
                    f"What is continued has {given} {what} or more; at most {most} are taken. "
                    "Begin anew with a summary.",
                    param="previous_response_id",
                )

    async def inputs(
        self,
        organization_id: str,
        response_id: str,
        *,
        after: str | None,
        limit: int,
        order: Order = Order.DESCENDING,
    ) -> Page[Item]:
        """Pages of all items that `response_id` was made from, those that it continues too.

        Of a conversation whose beginning is gone, what is left.
        """
        async with self._database.begin() as session:
            rows = await _rows(session, _links(organization_id, response_id))
        if not rows:
            raise _missing(response_id)
        found = [shown(item) for item in (*_past(rows[:-1]), *rows[-1].input)]
        return excerpt(found, after=after, limit=limit, order=order)


def _links(organization_id: str, response_id: str) -> CTE:
    """`response_id` and what it continues, with the distance."""
    own = StoredResponse.organization_id == organization_id
    columns = StoredResponse.id, StoredResponse.previous_id, StoredResponse.bytes
    links = (
        select(*columns, literal(1).label("depth"))
        .where(StoredResponse.id == response_id, own)
        .cte("links", recursive=True)
    )
    return links.union_all(
        select(*columns, links.c.depth + 1)
        .join(links, StoredResponse.id == links.c.previous_id)
        .where(own, links.c.depth <= MAX_CHAIN)
    )


async def _rows(session: AsyncSession, links: CTE) -> list[StoredResponse]:
    """The rows of `links`, the oldest first."""
    joined = select(StoredResponse).join(links, StoredResponse.id == links.c.id)
    return list(await session.scalars(joined.order_by(links.c.depth.desc())))


def _past(rows: Sequence[StoredResponse]) -> list[Item]:
    return [item for row in rows for item in (*row.input, *carried(row.answer["output"]))]


def _missing(response_id: str) -> NotFound:
    return NotFound(f"Response with id {response_id[:200]!r} not found.", param="response_id")


def _gone(message: str) -> NotFound:
    return NotFound(message, param="previous_response_id", code="previous_response_not_found")


async def _row(session: AsyncSession, organization_id: str, response_id: str) -> StoredResponse:
    row = await session.scalar(
        select(StoredResponse).where(
            StoredResponse.id == response_id, StoredResponse.organization_id == organization_id
        )
    )
    if row is None:
        raise _missing(response_id)
    return row
