"""Plans: what an organization is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from redis.asyncio import Redis
from sqlalchemy import select, update

from cluster.errors import InvalidRequest, NotFound
from cluster.store.schema import ApiKey, Organization, Plan
from cluster.store.sql import Database, insert_missing
from cluster.tenancy.keys import announce
from cluster.tenancy.principal import Limits

LARGEST = 100_000_000
"""Of any limit: admission's arithmetic is exact up to there."""


class Plans:
    """Writes plans and gives them to organizations; routers hear of it at once."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def put(self, key: str, limits: Limits) -> None:
        """Create or change a plan."""
        if not 1 <= len(key) <= 255:
            raise InvalidRequest("A plan's key has 1 to 255 characters.", param="key")
        values = asdict(limits)
        for name, value in values.items():
            if value is not None and not 0 <= value <= LARGEST:
                raise InvalidRequest(
                    f"{name} is {value}; allowed are 0 to {LARGEST}, or none for no limit.",
                    param=name,
                )
        async with self._database.begin() as session:
            await insert_missing(session, Plan, [{"key": key, **values}])
            await session.execute(update(Plan).where(Plan.key == key).values(values))
            query = select(ApiKey.hash).join(
                Organization, Organization.id == ApiKey.organization_id
            )
            hashes = (await session.scalars(query.where(Organization.plan_key == key))).all()
        await announce(self._redis, hashes)

    async def list(self) -> Sequence[Plan]:
        async with self._database.begin() as session:
            return (await session.scalars(select(Plan).order_by(Plan.key))).all()

    async def assign(self, organization_id: str, key: str) -> None:
        """Put an organization on a plan."""
        async with self._database.begin() as session:
            organization = await session.get(Organization, organization_id)
            if organization is None:
                raise NotFound(
                    f"There is no organization {organization_id!r}.", param="organization"
                )
            if await session.get(Plan, key) is None:
                raise NotFound(f"There is no plan {key!r}.", param="plan")
            organization.plan_key = key
            query = select(ApiKey.hash).where(ApiKey.organization_id == organization_id)
            hashes = (await session.scalars(query)).all()
        await announce(self._redis, hashes)
