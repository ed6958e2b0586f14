"""Keys, organizations and plans, on every kind of database."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.store.redis import KEYS_CHANNEL
from cluster.store.schema import now
from cluster.store.sql import Database
from cluster.tenancy.keys import FORMAT, Keys, key_hash
from cluster.tenancy.last_used import LastUsed
from cluster.tenancy.organizations import NewOrganization, Organizations
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import LARGEST, Limits, Scope


@pytest.fixture
async def tenant(database: Database, redis: Redis) -> NewOrganization:
    await Plans(database, redis).put("small", Limits(requests_per_minute=3))
    return await Organizations(database).create("Acme", "acme", "small")


async def _announced(redis: Redis, action) -> set[str]:
    async with redis.pubsub() as channel:
        await channel.subscribe(KEYS_CHANNEL)
        await channel.get_message(timeout=1.0)
        await action
        heard = set()
        while (message := await channel.get_message(timeout=0.1)) is not None:
            heard.add(message["data"].decode())
        return heard


async def test_a_key_is_shown_once_and_stored_as_a_hash(database, redis, tenant) -> None:
    keys = Keys(database, redis)
    new = await keys.create(tenant.organization.id, tenant.project.id, "ci", {Scope.INFERENCE})
    assert FORMAT.fullmatch(new.secret)
    assert new.secret not in repr(new)
    (row,) = (await keys.list(tenant.organization.id)).items
    assert row.hash == key_hash(new.secret)
    assert new.secret.startswith(row.prefix)
    assert len(row.prefix) < 12
    assert row.scopes == ["inference"]
    assert (row.revoked_at, row.last_used_at) == (None, None)


async def test_a_revocation_is_announced_and_repeatable(database, redis, tenant) -> None:
    keys = Keys(database, redis)
    new = await keys.create(tenant.organization.id, tenant.project.id, "ci", {Scope.READ})
    heard = await _announced(redis, keys.revoke(tenant.organization.id, new.row.id))
    assert heard == {new.row.hash}
    first = (await keys.list(tenant.organization.id)).items[0].revoked_at
    assert (await keys.revoke(tenant.organization.id, new.row.id)).revoked_at == first


async def test_keys_are_listed_by_pages_the_newest_first(database, redis, tenant) -> None:
    keys, organization = Keys(database, redis), tenant.organization.id
    made = [
        (await keys.create(organization, tenant.project.id, str(n), {Scope.READ})).row.id
        for n in range(3)
    ]
    await keys.revoke(organization, made[0])
    first = await keys.list(organization, limit=2)
    assert ([row.id for row in first.items], first.has_more) == ([made[2], made[1]], True)
    rest = await keys.list(organization, limit=2, after=made[1])
    assert ([row.id for row in rest.items], rest.has_more) == ([made[0]], False)
    other = await Organizations(database).create("Other", "other", "small")
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"after": "key-0"}):
        with pytest.raises(InvalidRequest) as raised:
            await keys.list(organization, **wrong)
        assert raised.value.param == next(iter(wrong))
    with pytest.raises(InvalidRequest):
        await keys.list(other.organization.id, after=made[0])


async def test_keys_of_others_are_not_found(database, redis, tenant) -> None:
    keys = Keys(database, redis)
    other = await Organizations(database).create("Other", "other", "small")
    new = await keys.create(tenant.organization.id, tenant.project.id, "ci", {Scope.READ})
    with pytest.raises(NotFound):
        await keys.revoke(other.organization.id, new.row.id)
    with pytest.raises(NotFound):
        await keys.create(other.organization.id, tenant.project.id, "ci", {Scope.READ})
    assert (await keys.list(other.organization.id)).items == ()


@pytest.mark.parametrize(
    ("name", "scopes", "expires_in", "param"),
    [
        ("", {Scope.READ}, None, "name"),
        ("x" * 256, {Scope.READ}, None, "name"),
        ("ci", set(), None, "scopes"),
        ("ci", {Scope.READ}, timedelta(0), "expires_at"),
    ],
)
async def test_a_wrong_key_names_its_field(
    database, redis, tenant, name, scopes, expires_in, param
) -> None:
    expires_at = None if expires_in is None else now() + expires_in
    with pytest.raises(InvalidRequest) as raised:
        await Keys(database, redis).create(
            tenant.organization.id, tenant.project.id, name, scopes, expires_at=expires_at
        )
    assert raised.value.param == param


async def test_revoking_works_with_redis_away(sqlite_url, redis_server) -> None:
    from cluster.store.redis import connect

    database, redis = Database(sqlite_url), connect(redis_server.url)
    await Plans(database, redis).put("small", Limits())
    tenant = await Organizations(database).create("Acme", "acme", "small")
    keys = Keys(database, redis)
    new = await keys.create(tenant.organization.id, tenant.project.id, "ci", {Scope.READ})
    redis_server.stop()
    assert (await keys.revoke(tenant.organization.id, new.row.id)).revoked_at is not None
    await redis.aclose()
    await database.close()


async def test_plans_change_and_their_keys_are_announced(database, redis, tenant) -> None:
    plans, keys = Plans(database, redis), Keys(database, redis)
    organization = tenant.organization.id
    hashes = {
        (await keys.create(organization, tenant.project.id, name, {Scope.READ})).row.hash
        for name in ("one", "two")
    }
    other = await Organizations(database).create("Other", "other", "small")
    await plans.put("big", Limits(tokens_per_minute=1000))
    assert await _announced(redis, plans.assign(organization, "big")) == hashes
    assert await _announced(redis, plans.put("big", Limits(max_concurrent=2))) == hashes
    assert await _announced(redis, plans.put("small", Limits())) == set()
    assert await plans.of(organization) == Limits(max_concurrent=2)
    assert await plans.of(other.organization.id) == Limits()
    with pytest.raises(NotFound):
        await plans.assign(other.organization.id, "none")
    with pytest.raises(NotFound):
        await plans.assign("org-none", "big")
    with pytest.raises(InvalidRequest):
        await plans.put("bad", Limits(max_concurrent=-1))


async def test_one_plan_written_by_many_at_once(database, redis) -> None:
    plans = Plans(database, redis)
    await asyncio.gather(*(plans.put("p", Limits(max_concurrent=5)) for _ in range(5)))
    made = await Organizations(database).create("Acme", "acme", "p")
    assert await plans.of(made.organization.id) == Limits(max_concurrent=5)


async def test_an_organization_is_given_limits_of_its_own(database, redis, tenant) -> None:
    plans, organization = Plans(database, redis), tenant.organization.id
    other = await Organizations(database).create("Other", "other", "small")
    new = await Keys(database, redis).create(organization, tenant.project.id, "ci", {Scope.READ})
    heard = await _announced(redis, plans.change(organization, {"max_concurrent": 2}))
    assert heard == {new.row.hash}
    assert await plans.of(organization) == Limits(requests_per_minute=3, max_concurrent=2)
    assert await plans.of(other.organization.id) == Limits(requests_per_minute=3)
    lifted = await plans.change(organization, {"requests_per_minute": None})
    assert lifted == await plans.of(organization) == Limits(max_concurrent=2)


async def test_changes_of_different_limits_at_once_are_all_kept(database, redis, tenant) -> None:
    plans, organization = Plans(database, redis), tenant.organization.id
    wanted = Limits(1, 2, 3, 4)
    await asyncio.gather(
        *(plans.change(organization, {name: limit}) for name, limit in asdict(wanted).items())
    )
    assert await plans.of(organization) == wanted


@pytest.mark.parametrize("limit", [-1, LARGEST + 1])
async def test_a_limit_out_of_range_is_named_and_changes_nothing(
    database, redis, tenant, limit
) -> None:
    plans, organization = Plans(database, redis), tenant.organization.id
    with pytest.raises(InvalidRequest, match=f"tokens_per_minute is {limit}; allowed are") as told:
        await plans.change(organization, {"max_concurrent": 1, "tokens_per_minute": limit})
    assert told.value.param == "tokens_per_minute"
    assert await plans.of(organization) == Limits(requests_per_minute=3)
    with pytest.raises(NotFound):
        await plans.change("org-none", {})


async def test_organizations_have_slugs_of_their_own(database, tenant) -> None:
    organizations = Organizations(database)
    assert (await organizations.find("acme")).id == tenant.organization.id
    with pytest.raises(Conflict):
        await organizations.create("Again", "acme", "small")
    with pytest.raises(InvalidRequest):
        await organizations.create("Bad", "a b", "small")
    with pytest.raises(NotFound):
        await organizations.create("Bad", "bad", "none")
    with pytest.raises(NotFound):
        await organizations.find("bad")


async def test_last_used_is_written_in_bunches(database, redis, tenant) -> None:
    keys = Keys(database, redis)
    new = await keys.create(tenant.organization.id, tenant.project.id, "ci", {Scope.READ})
    used = LastUsed(database)
    used.mark(new.row.id)
    await used.flush()
    first = (await keys.list(tenant.organization.id)).items[0].last_used_at
    assert first is not None
    used.mark(new.row.id)
    await used.flush()  # within the minute: not written again
    assert (await keys.list(tenant.organization.id)).items[0].last_used_at == first
