"""The first start, however many times and from wherever it happens."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from cluster.errors import ConfigurationError
from cluster.settings import Settings
from cluster.store.schema import ApiKey, Organization, Plan, Project
from cluster.store.sql import Database
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.bootstrap import bootstrap
from cluster.tenancy.keys import Keys, new_secret
from cluster.tenancy.principal import Scope


async def _count(database: Database, table) -> int:
    async with database.begin() as session:
        return await session.scalar(select(func.count()).select_from(table))


async def _works(settings: Settings, database: Database, redis) -> bool:
    secret = (settings.home / "admin.key").read_text().strip()
    principal = await Authenticator(database, redis).authenticate(f"Bearer {secret}")
    return principal.scopes == {Scope.ADMIN} and principal.limits.none


async def test_it_makes_everything_once(settings, database, redis) -> None:
    first = await bootstrap(settings, database)
    assert await bootstrap(settings, database) == first
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    for table in (Plan, Organization, Project, ApiKey):
        assert await _count(database, table) == 1
    assert await _works(settings, database, redis)


async def test_a_crash_between_file_and_row_is_mended(settings, database, redis) -> None:
    settings.home.mkdir()
    (settings.home / "admin.key").write_text(new_secret() + "\n")
    await bootstrap(settings, database)
    assert await _works(settings, database, redis)


async def test_an_empty_file_is_replaced_and_a_strange_one_is_not(settings, database, redis):
    settings.home.mkdir()
    path = settings.home / "admin.key"
    path.touch()
    await bootstrap(settings, database)
    assert await _works(settings, database, redis)
    path.write_text("somebody's notes\n")
    with pytest.raises(ConfigurationError, match=r"admin\.key holds no key; empty it"):
        await bootstrap(settings, database)


async def test_a_revoked_key_is_replaced_and_never_revived(settings, database, redis) -> None:
    tenant = await bootstrap(settings, database)
    keys = Keys(database, redis)
    (old,) = (await keys.list(tenant.organization_id)).items
    await keys.revoke(tenant.organization_id, old.id)
    await asyncio.gather(*(bootstrap(settings, database) for _ in range(3)))
    assert await _works(settings, database, redis)
    listed = (await keys.list(tenant.organization_id)).items
    revoked = [key.id for key in listed if key.revoked_at]
    assert revoked == [old.id]
    assert list(settings.home.iterdir()) == [settings.home / "admin.key"]


async def test_a_home_may_remove_its_key_to_be_given_another(settings, database, redis) -> None:
    await bootstrap(settings, database)
    (settings.home / "admin.key").unlink()
    await bootstrap(settings, database)
    assert await _works(settings, database, redis)


@pytest.fixture
def nodes(settings, database) -> list[Settings]:
    """Homes that share a database."""
    url = {"database_url": database.url}
    homes = [settings.home.with_name(f"node{n}") for n in range(3)]
    return [settings.model_copy(update={"home": home, **url}) for home in homes]


async def test_homes_that_share_a_database_share_one_key(nodes, database, redis) -> None:
    first, *others = nodes
    await bootstrap(first, database)
    for node in (*others, first):
        await bootstrap(node, database)
    assert await _works(first, database, redis)
    assert await _count(database, ApiKey) == 1
    assert [(node.home / "admin.key").exists() for node in nodes] == [True, False, False]


async def test_homes_that_start_together_share_one_key(nodes, database) -> None:
    await asyncio.gather(*(bootstrap(node, database) for node in nodes))
    assert await _count(database, ApiKey) == 1
    assert [(node.home / "admin.key").exists() for node in nodes].count(True) == 1


async def test_whoever_lost_the_shared_key_is_given_another(nodes, database, redis) -> None:
    lost, chosen, other = nodes
    await bootstrap(lost, database)
    (lost.home / "admin.key").unlink()
    chosen.home.mkdir()
    (chosen.home / "admin.key").touch()
    await bootstrap(chosen, database)
    assert await _works(chosen, database, redis)
    keys = Keys(database, redis)
    for key in (await keys.list("org-default")).items:
        await keys.revoke("org-default", key.id)
    await bootstrap(other, database)
    assert await _works(other, database, redis), "a revoked key is nobody's way in"


START = """
from pathlib import Path
from cluster.settings import Settings
from cluster.store.sql import Database, upgrade
from cluster.tenancy.bootstrap import bootstrap

async def main(index, home, url):
    settings = Settings(home=Path(home), database_url=url)
    await upgrade(settings)
    database = Database(settings.sql_url)
    await bootstrap(settings, database)
    await database.close()
"""


@pytest.mark.slow
async def test_processes_that_start_together_agree(settings, database, redis, in_processes) -> None:
    with in_processes(4, START, str(settings.home), database.url) as start:
        assert start.wait() == 0
    for table in (Plan, Organization, Project, ApiKey):
        assert await _count(database, table) == 1
    assert await _works(settings, database, redis)
