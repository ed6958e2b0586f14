"""Pinned adapters: every replica holds them, whatever else it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis
from sqlalchemy import select

from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel
from cluster.catalog.lifecycle import WANTED
from cluster.catalog.names import holder, served
from cluster.errors import Conflict, ModelNotFound
from cluster.store.schema import Adapter
from cluster.store.sql import Database, take_turns


class Pins:
    """At most `most` of one organization on one base model, and half of a replica's places of all:
    what is not pinned needs places too."""

    def __init__(self, database: Database, redis: Redis, most: int) -> None:
        self._database = database
        self._redis = redis
        self._most = most

    async def set(self, organization_id: str, name: str, pinned: bool) -> Adapter:
        """Pin an adapter or let go of it. Again is the same as once.

        Raises ModelNotFound, and Conflict where no more may be pinned.
        """
        bases = await served(self._database)
        async with self._database.begin() as session:
            row = await session.scalar(holder(organization_id, name))
            if row is None:
                raise ModelNotFound(name, param="name")
            if row.pinned is pinned:
                return row
            if pinned:
                await take_turns(session, f"pins {row.base_model}")
                owners = await session.scalars(
                    select(Adapter.organization_id)
                    .where(Adapter.base_model == row.base_model)
                    .where(Adapter.pinned, Adapter.state.in_(WANTED))
                )
                self._check(bases[row.base_model], organization_id, owners.all())
            row.pinned = pinned
        await announce(self._redis)
        return row

    def _check(self, base: BaseModel, organization_id: str, owners: Sequence[str]) -> None:
        own = owners.count(organization_id)
        if own >= self._most:
            raise Conflict(
                f"{own} of your adapters of {base.name!r} are pinned, and no more than "
                f"{self._most} may be. Unpin one first.",
                param="pinned",
                code="too_many_pinned",
            )
        half = base.places // 2
        if len(owners) >= half:
            raise Conflict(
                f"No more adapters of {base.name!r} can be pinned: {half} may be, which is half of "
                f"the {base.places} that one of its replicas holds.",
                param="pinned",
                code="too_many_pinned",
            )
