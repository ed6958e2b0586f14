"""Plans and budgets: what an organization is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from redis.asyncio import Redis
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import InvalidRequest, NotFound
from cluster.store.schema import ApiKey, Organization, Plan
from cluster.store.sql import Database, insert_missing, take_turns
from cluster.tenancy.budget import Budget, Terms, new_budget
from cluster.tenancy.keys import announce
from cluster.tenancy.principal import Limits, check_limits


class Plans:
    """Writes plans and gives them to organizations; routers hear of it at once."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def of(self, organization_id: str) -> Limits:
        """What an organization is allowed now. Raises NotFound."""
        async with self._database.begin() as session:
            return limits_of(await _plan(session, await _organization(session, organization_id)))

    async def change(self, organization_id: str, changes: Mapping[str, int | None]) -> Limits:
        """Change some limits of one organization alone, by their names; the others stay.

        It thereby leaves a plan that it shares for one of its own. Raises NotFound, and
        InvalidRequest for a number out of range.
        """
        if not changes:
            return await self.of(organization_id)
        async with self._database.begin() as session:
            await take_turns(session, organization_id)  # two changes at once are both kept
            organization = await _organization(session, organization_id)
            limits = replace(limits_of(await _plan(session, organization)), **changes)
            await _write(session, organization_id, limits)
            organization.plan_key = organization_id
            hashes = await _hashes(session, Organization.id == organization_id)
        await announce(self._redis, hashes)
        return limits

    async def put(self, key: str, limits: Limits) -> None:
        """Create or change a plan, for all organizations that are on it."""
        if not 1 <= len(key) <= 255:
            raise InvalidRequest("A plan's key has 1 to 255 characters.", param="key")
        async with self._database.begin() as session:
            await _write(session, key, limits)
            hashes = await _hashes(session, Organization.plan_key == key)
        await announce(self._redis, hashes)

    async def assign(self, organization_id: str, key: str) -> None:
        """Put an organization on a plan."""
        async with self._database.begin() as session:
            organization = await _organization(session, organization_id)
            if await session.get(Plan, key) is None:
                raise NotFound(f"There is no plan {key!r}.", param="plan")
            organization.plan_key = key
            hashes = await _hashes(session, Organization.id == organization_id)
        await announce(self._redis, hashes)

    async def budget(self, organization_id: str) -> Budget | None:
        """What all keys of an organization may spend together. Raises NotFound."""
        async with self._database.begin() as session:
            return Budget.from_json((await _organization(session, organization_id)).budget)

    async def set_budget(self, organization_id: str, terms: Terms | None) -> Budget | None:
        """Set it, on every router within a second; None lifts it.

        Raises InvalidRequest and NotFound.
        """
        async with self._database.begin() as session:
            await take_turns(session, organization_id)
            organization = await _organization(session, organization_id)
            before = Budget.from_json(organization.budget)
            budget = None if terms is None else new_budget(terms, before)
            organization.budget = None if budget is None else budget.to_json()
            hashes = await _hashes(session, Organization.id == organization_id)
        await announce(self._redis, hashes)
        return budget


def limits_of(plan: Plan) -> Limits:
    return Limits(
        requests_per_minute=plan.requests_per_minute,
        requests_per_day=plan.requests_per_day,
        tokens_per_minute=plan.tokens_per_minute,
        max_concurrent=plan.max_concurrent,
    )


async def _organization(session: AsyncSession, organization_id: str) -> Organization:
    found = await session.get(Organization, organization_id)
    if found is None:
        raise NotFound(f"There is no organization {organization_id!r}.", param="organization")
    return found


async def _plan(session: AsyncSession, organization: Organization) -> Plan:
    return await session.get_one(Plan, organization.plan_key)


async def _write(session: AsyncSession, key: str, limits: Limits) -> None:
    check_limits(limits)
    values = asdict(limits)
    await insert_missing(session, Plan, [{"key": key, **values}])
    await session.execute(update(Plan).where(Plan.key == key).values(values))


async def _hashes(session: AsyncSession, whose: ColumnElement[bool]) -> Sequence[str]:
    """Of all keys by which routers may know the organizations."""
    query = select(ApiKey.hash).join(Organization, Organization.id == ApiKey.organization_id)
    return (await session.scalars(query.where(whose))).all()
