"""Removes stored answers whose time is over, some at a time: others write to the same tables."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import CursorResult, Delete, delete, exists, select, tuple_
from sqlalchemy.orm import aliased

from cluster.retention.policy import Policy
from cluster.store.schema import StoredCompletion, StoredResponse, now
from cluster.store.sql import Database

log = logging.getLogger(__name__)

BATCH = 500


class Expiry:
    """Any number may run at once."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        *,
        batch: int = BATCH,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._database = database
        self._policy = policy
        self._batch = batch
        self._clock = clock

    async def step(self) -> int:
        """Remove what is older than the policy keeps; how many rows that were."""
        before = self._clock() - self._policy.stored_answer
        removed = 0
        for statement in (self._responses(before), self._completions(before)):
            while done := await self._remove(statement):
                removed += done
        if removed:
            log.info("removed %d stored answers, made before %s", removed, before)
        return removed

    async def _remove(self, statement: Delete) -> int:
        async with self._database.begin() as session:
            result = await session.execute(statement)
        assert isinstance(result, CursorResult), "a deletion counts its rows"
        return result.rowcount

    def _responses(self, before: datetime) -> Delete:
        """Whole threads: what a young response continues is not old."""
        younger = aliased(StoredResponse)
        over = (
            select(StoredResponse.id)
            .where(
                StoredResponse.created_at < before,
                ~exists().where(
                    younger.thread_id == StoredResponse.thread_id, younger.created_at >= before
                ),
            )
            .limit(self._batch)
        )
        return delete(StoredResponse).where(StoredResponse.id.in_(over))

    def _completions(self, before: datetime) -> Delete:
        key = StoredCompletion.organization_id, StoredCompletion.id
        over = select(*key).where(StoredCompletion.created_at < before).limit(self._batch)
        return delete(StoredCompletion).where(tuple_(*key).in_(over))
