"""Stored chat completions: the answer, the messages that it answers, and labels to find it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import orjson
from sqlalchemy import Select, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from cluster.errors import NotFound
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import StoredCompletion, StoredLabel, now
from cluster.store.sql import Database
from cluster.stored.excerpt import MAX_LIST, excerpt
from cluster.tenancy.principal import Principal

MAX_PAGE = 16 * 2**20
"""Bytes of the answers on one page, unless it has but one. They are read on the event loop."""


class Completions:
    """The one owner of stored chat completions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        who: Principal,
        messages: Sequence[dict[str, Any]],
        answer: dict[str, Any],
        labels: Mapping[str, str],
    ) -> None:
        """Keep `answer` under its own id. Twice is once; of two by one id the later holds."""
        async with self._database.begin() as session:
            await session.execute(delete(StoredCompletion).where(*_is(who, answer["id"])))
            session.add(
                StoredCompletion(
                    organization_id=who.organization_id,
                    id=answer["id"],
                    project_id=who.project_id,
                    key_id=who.key_id,
                    model=str(answer.get("model", ""))[:255],
                    messages=list(messages),
                    answer=answer,
                    labels=dict(labels),
                    bytes=len(orjson.dumps(answer)),
                    created_at=now(),
                )
            )
            await session.flush()
            _label(session, who.organization_id, answer["id"], labels)

    async def get(self, organization_id: str, completion_id: str) -> StoredCompletion:
        async with self._database.begin() as session:
            return await _row(session, organization_id, completion_id)

    async def page(
        self,
        organization_id: str,
        *,
        model: str | None,
        labels: Mapping[str, str],
        after: str | None,
        limit: int,
        order: Order = Order.ASCENDING,
    ) -> Page[StoredCompletion]:
        """Those of `model` that have all these labels, without their messages.

        A page of large answers has fewer than `limit`.
        """
        query: Select[StoredCompletion] = select(StoredCompletion).where(
            StoredCompletion.organization_id == organization_id
        )
        if model is not None:
            query = query.where(StoredCompletion.model == model)
        for key, value in labels.items():
            query = query.where(
                exists().where(
                    StoredLabel.organization_id == StoredCompletion.organization_id,
                    StoredLabel.completion_id == StoredCompletion.id,
                    StoredLabel.key == key,
                    StoredLabel.value == value,
                )
            )
        keys = (StoredCompletion.created_at, StoredCompletion.id)
        async with self._database.begin() as session:
            found = await fetch_page(
                session,
                query.options(defer(StoredCompletion.messages), defer(StoredCompletion.answer)),
                keys,
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
                order=order,
            )
            page = _page(found)
            # Fills in the answers of the rows that the session holds already.
            await session.execute(
                select(StoredCompletion)
                .options(defer(StoredCompletion.messages))
                .where(
                    StoredCompletion.organization_id == organization_id,
                    StoredCompletion.id.in_([row.id for row in page.items]),
                )
                .execution_options(populate_existing=True)
            )
        return page

    async def relabel(
        self, organization_id: str, completion_id: str, labels: Mapping[str, str]
    ) -> StoredCompletion:
        """Give it these labels instead of those that it has."""
        async with self._database.begin() as session:
            row = await _row(session, organization_id, completion_id)
            row.labels = dict(labels)
            await session.execute(
                delete(StoredLabel).where(
                    StoredLabel.organization_id == organization_id,
                    StoredLabel.completion_id == completion_id,
                )
            )
            _label(session, organization_id, completion_id, labels)
        return row

    async def delete(self, organization_id: str, completion_id: str) -> None:
        async with self._database.begin() as session:
            await session.delete(await _row(session, organization_id, completion_id))

    async def messages(
        self,
        organization_id: str,
        completion_id: str,
        *,
        after: str | None,
        limit: int,
        order: Order = Order.ASCENDING,
    ) -> Page[dict[str, Any]]:
        """Pages of the messages that it answers, each with an id."""
        row = await self.get(organization_id, completion_id)
        found = [
            {**message, "id": f"{completion_id}-{number}"}
            for number, message in enumerate(row.messages)
        ]
        return excerpt(found, after=after, limit=limit, order=order)


def _is(who: Principal, completion_id: str) -> tuple[Any, Any]:
    return (
        StoredCompletion.organization_id == who.organization_id,
        StoredCompletion.id == completion_id,
    )


def _page(found: Page[StoredCompletion]) -> Page[StoredCompletion]:
    """As much of it as one page may have, and one row at least."""
    sizes = accumulate(row.bytes for row in found.items)
    fitting = max(1, sum(size <= MAX_PAGE for size in sizes))
    return Page(found.items[:fitting], found.has_more or len(found.items) > fitting)


def _label(
    session: AsyncSession, organization_id: str, completion_id: str, labels: Mapping[str, str]
) -> None:
    session.add_all(
        StoredLabel(
            organization_id=organization_id, completion_id=completion_id, key=key, value=value
        )
        for key, value in labels.items()
    )


async def _row(session: AsyncSession, organization_id: str, completion_id: str) -> StoredCompletion:
    row = await session.get(StoredCompletion, (organization_id, completion_id))
    if row is None:
        raise NotFound(
            f"Chat completion with id {completion_id[:200]!r} not found.", param="completion_id"
        )
    return row
