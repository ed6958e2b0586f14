"""Authentication: what the cache may and may not do, with stores that go away."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from cluster.errors import Unauthenticated, Unavailable
from cluster.store.redis import connect
from cluster.store.schema import ApiKey, now
from cluster.store.sql import Database
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys, new_secret
from cluster.tenancy.organizations import Organizations
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import Limits, Scope


class FrailDatabase(Database):
    """A database that can be told to fail or to hang, and counts."""

    fault: str | None = None
    reads = 0

    @asynccontextmanager
    async def begin(self):
        self.reads += 1
        if self.fault == "away":
            raise Unavailable("The database does not answer.")
        if self.fault == "broken":
            raise RuntimeError("a bug")
        if self.fault == "hangs":
            await asyncio.sleep(30)
        async with super().begin() as session:
            yield session


@pytest.fixture
async def database(database_url):
    opened = FrailDatabase(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def keys(database, redis) -> Keys:
    return Keys(database, redis)


@pytest.fixture
async def tenant(database, redis):
    await Plans(database, redis).put("small", Limits(requests_per_minute=3))
    return await Organizations(database).create("Acme", "acme", "small")


@pytest.fixture
async def new_key(keys, tenant):
    async def make(**options):
        organization = tenant.organization.id
        return await keys.create(organization, tenant.project.id, "k", {Scope.TRAIN}, **options)

    return make


@pytest.fixture
async def authenticator(database, redis):
    made = Authenticator(database, redis)
    yield made
    database.fault = None
    await made.close()


@asynccontextmanager
async def running(authenticator: Authenticator):
    task = asyncio.create_task(authenticator.run())
    await asyncio.sleep(0.1)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def soon(check, seconds: float = 1.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.02)


def refused(authenticator: Authenticator, secret: str):
    async def check() -> bool:
        try:
            await authenticator.authenticate(f"Bearer {secret}")
        except Unauthenticated:
            return True
        return False

    return check


async def test_a_key_becomes_its_principal(authenticator, new_key, tenant, database) -> None:
    new = await new_key()
    principal = await authenticator.authenticate(f"Bearer {new.secret}")
    assert principal.organization_id == tenant.organization.id
    assert principal.organization_slug == "acme"
    assert principal.project_id == tenant.project.id
    assert principal.key_id == new.row.id
    assert principal.scopes == {Scope.TRAIN}
    assert principal.limits == Limits(requests_per_minute=3)
    reads = database.reads
    assert await authenticator.authenticate(f"Bearer {new.secret}") is principal
    assert await authenticator.authenticate(f"bearer  {new.secret} ") is principal
    assert database.reads == reads


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer sk-123", "Bearer lk-\udcff", "lk-x",
     # Random, so named: the workers of one run must agree on what they collected.
     pytest.param(f"Bearer {new_secret()}", id="unknown"),
     pytest.param(f"Bearer {new_secret()}x", id="unknown and longer"),
     pytest.param("Bearer " + "a" * 100_000, id="long")],
)  # fmt: skip
async def test_what_is_no_key_is_refused_without_an_echo(authenticator, header) -> None:
    with pytest.raises(Unauthenticated) as raised:
        await authenticator.authenticate(header)
    secret = (header or "").removeprefix("Bearer ").strip()
    assert len(secret) < 4 or secret not in raised.value.message


async def test_expiry_needs_no_announcement(authenticator, new_key, database) -> None:
    new = await new_key(expires_at=now() + timedelta(seconds=0.5))
    await authenticator.authenticate(f"Bearer {new.secret}")
    await soon(refused(authenticator, new.secret))
    database.fault = "away"
    with pytest.raises(Unauthenticated, match="expired"):
        await authenticator.authenticate(f"Bearer {new.secret}")


async def test_a_revocation_is_heard_within_a_second(authenticator, new_key, keys, tenant) -> None:
    new = await new_key()
    async with running(authenticator):
        await authenticator.authenticate(f"Bearer {new.secret}")
        await keys.revoke(tenant.organization.id, new.row.id)
        await soon(refused(authenticator, new.secret))
        with pytest.raises(Unauthenticated, match="revoked"):
            await authenticator.authenticate(f"Bearer {new.secret}")


async def test_a_new_plan_is_heard_within_a_second(authenticator, new_key, redis, tenant, database):
    new = await new_key()
    async with running(authenticator):
        before = await authenticator.authenticate(f"Bearer {new.secret}")
        await Plans(database, redis).put("small", Limits(max_concurrent=7))

        async def seen() -> bool:
            principal = await authenticator.authenticate(f"Bearer {new.secret}")
            return principal is not before

        await soon(seen)
        after = await authenticator.authenticate(f"Bearer {new.secret}")
    assert (before.limits, after.limits) == (
        Limits(requests_per_minute=3), Limits(max_concurrent=7),
    )  # fmt: skip
    assert replace(after, limits=before.limits) == before, "nothing else of the key changed"


@pytest.mark.parametrize("fault", ["away", "broken", "hangs"])
async def test_known_keys_outlive_the_database(
    authenticator, new_key, database, monkeypatch, caplog, fault
) -> None:
    new, other = await new_key(), await new_key()
    principal = await authenticator.authenticate(f"Bearer {new.secret}")
    monkeypatch.setattr("cluster.tenancy.authenticate.PATIENCE", 0.1)
    monkeypatch.setattr("cluster.tenancy.authenticate.LONGEST_WAIT", 0.2)
    authenticator._hear("subscribe", 1)  # everything is stale
    database.fault = fault
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert await authenticator.authenticate(f"Bearer {new.secret}") is principal
        for secret in (other.secret, new_secret()):
            with pytest.raises(Unavailable):
                await authenticator.authenticate(f"Bearer {secret}")
    assert sum("is away" in record.message for record in caplog.records) <= 1


async def test_a_revoked_key_is_not_served_stale(authenticator, new_key, database) -> None:
    new = await new_key()
    await authenticator.authenticate(f"Bearer {new.secret}")
    authenticator._hear("message", new.row.hash.encode())
    database.fault = "away"
    with pytest.raises(Unavailable):
        await authenticator.authenticate(f"Bearer {new.secret}")


async def test_a_read_that_a_revocation_overtook_is_not_kept(
    authenticator, new_key, database, monkeypatch
) -> None:
    new = await new_key()
    select = authenticator._select
    slow = asyncio.Event()

    async def overtaken(hashed: str):
        row = await select(hashed)
        await slow.wait()
        return row

    monkeypatch.setattr(authenticator, "_select", overtaken)
    request = asyncio.create_task(authenticator.authenticate(f"Bearer {new.secret}"))
    await asyncio.sleep(0.1)
    async with database.begin() as session:
        await session.execute(update(ApiKey).values(revoked_at=now()))
    authenticator._hear("message", new.row.hash.encode())
    slow.set()
    with pytest.raises(Unauthenticated, match="revoked"):
        await request


async def test_many_requests_with_one_new_key_read_it_once(authenticator, new_key, database):
    new = await new_key()
    reads = database.reads
    await asyncio.gather(*(authenticator.authenticate(f"Bearer {new.secret}") for _ in range(50)))
    assert database.reads == reads + 1


async def test_an_unknown_key_is_remembered_briefly(authenticator, database) -> None:
    secret = new_secret()
    for _ in range(10):
        assert await refused(authenticator, secret)()
    assert database.reads == 1


async def test_the_cache_is_bounded(database, redis, new_key) -> None:
    authenticator = Authenticator(database, redis, capacity=2)
    secrets = [(await new_key()).secret for _ in range(3)]
    for secret in [*secrets, *(new_secret() for _ in range(5))]:
        await refused(authenticator, secret)()
    assert len(authenticator._entries) == len(authenticator._refusals) == 2


async def test_what_was_revoked_while_redis_was_away(sqlite_url, redis_server) -> None:
    """The announcement is lost; the reconnection makes up for it."""
    database, redis = Database(sqlite_url), connect(redis_server.url)
    await Plans(database, redis).put("small", Limits())
    tenant = await Organizations(database).create("Acme", "acme", "small")
    keys = Keys(database, redis)
    new = await keys.create(tenant.organization.id, tenant.project.id, "k", {Scope.READ})
    authenticator = Authenticator(database, redis)
    async with running(authenticator):
        await authenticator.authenticate(f"Bearer {new.secret}")
        redis_server.stop()
        await keys.revoke(tenant.organization.id, new.row.id)
        served = await authenticator.authenticate(f"Bearer {new.secret}")  # within its 30 s
        assert served.key_id == new.row.id
        redis_server.start()
        await soon(refused(authenticator, new.secret), 3.0)
        with pytest.raises(Unauthenticated, match="revoked"):
            await authenticator.authenticate(f"Bearer {new.secret}")
    await authenticator.close()
    await redis.aclose()
    await database.close()


async def test_a_connection_to_redis_that_is_silently_dead(
    sqlite_url, redis_server, monkeypatch, caplog
) -> None:
    """A paused server stands for a cable that was pulled."""
    monkeypatch.setattr("cluster.tenancy.authenticate.LONGEST_SILENCE", 1)
    database, redis = Database(sqlite_url), connect(redis_server.url, timeout=0.3)
    authenticator = Authenticator(database, redis)
    async with running(authenticator):

        async def subscribed(times: int) -> bool:
            return authenticator._changes == times

        async def given_up() -> bool:
            return "Redis (revocations) is away" in caplog.text

        await soon(lambda: subscribed(1))
        redis_server.signal(signal.SIGSTOP)
        await soon(given_up, 5.0)
        assert authenticator._changes == 1
        redis_server.signal(signal.SIGCONT)
        await soon(lambda: subscribed(2), 4.0)
    # Without a new subscription a server that goes on answers the old connection.
    assert authenticator._changes == 2
    await authenticator.close()
    await redis.aclose()
    await database.close()
