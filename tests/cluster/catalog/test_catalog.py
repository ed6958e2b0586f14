"""Names that are known are resolved in memory; a name that has just come is found in SQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import update

from cluster.catalog import catalog
from cluster.catalog.base_models import BaseModels
from cluster.catalog.caller import Caller
from cluster.catalog.catalog import Catalog
from cluster.errors import ModelNotFound, Unavailable
from cluster.settings import Settings
from cluster.store.schema import Adapter, AliasRow, AliasVersion, VirtualModelRow
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import FirstTenant, bootstrap
from tests.cluster.catalog.conftest import BASE

CALLER = Caller("req", "key")


@pytest.fixture
async def tenant(database: Database, settings: Settings) -> FirstTenant:
    settings.home.mkdir()
    await BaseModels(database).register(BASE)
    return await bootstrap(settings, database)


async def add(database: Database, tenant: FirstTenant, state: str) -> None:
    async with database.begin() as session:
        session.add(
            Adapter(
                id=f"adapter-{state}", organization_id=tenant.organization_id,
                project_id=tenant.project_id, name="bot", base_model=BASE.name, digest="d" * 64,
                uri="u", bytes=1, rank=1, target_modules=[], state=state,
            )
        )  # fmt: skip


async def test_an_adapter_answers_from_the_moment_that_it_is_published(
    database: Database, tenant: FirstTenant
) -> None:
    catalog = Catalog(database)
    await catalog.refresh()
    await add(database, tenant, "publishing")
    with pytest.raises(ModelNotFound):
        await catalog.find(tenant.organization_id, "bot", CALLER)
    async with database.begin() as session:
        await session.execute(update(Adapter).values(state="published"))
    assert (await catalog.find(tenant.organization_id, "bot", CALLER)).candidates[0].name == "bot"
    with pytest.raises(ModelNotFound):
        await catalog.find("org-other", "bot", CALLER)


async def test_without_sql_an_unknown_name_is_unknown(
    database: Database, tenant: FirstTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(database)
    await catalog.refresh()

    def away() -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(database, "begin", away)
    assert (await catalog.find(tenant.organization_id, BASE.name, CALLER)).candidates[
        0
    ].name == BASE.name
    with pytest.raises(ModelNotFound):
        await catalog.find(tenant.organization_id, "bot", CALLER)


async def test_sql_that_does_not_answer_holds_nobody(
    database: Database, tenant: FirstTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Catalog(database)
    await known.refresh()

    @asynccontextmanager
    async def stalled() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(database, "begin", stalled)
    monkeypatch.setattr(catalog, "LOOK_WITHIN", 0.01)
    monkeypatch.setattr(catalog, "READ_WITHIN", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(ModelNotFound):
            await known.find(tenant.organization_id, "bot", CALLER)
        outcomes = await asyncio.gather(
            known.refresh(), known.refresh(), known.catch_up(), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable, type(None)]


class Counted(Catalog):
    reads = 0

    async def _read(self) -> None:
        self.reads += 1
        await super()._read()


async def add_alias(database: Database, tenant: FirstTenant, name: str, model: str) -> None:
    async with database.begin() as session:
        row = AliasRow(
            id=f"alias-{name}", organization_id=tenant.organization_id, name=name, version=1
        )
        session.add(row)
        await session.flush()
        session.add(
            AliasVersion(
                alias_id=row.id, version=1, targets=[{"model": model, "weight": 1}],
                sticky="none", key_id="k",
            )
        )  # fmt: skip


async def test_a_name_that_leads_to_nothing_is_read_once_until_something_changes(
    database: Database, tenant: FirstTenant
) -> None:
    catalog, who = Counted(database), tenant.organization_id
    await catalog.refresh()
    await add_alias(database, tenant, "lost", "gone")
    for _ in range(5):
        with pytest.raises(ModelNotFound):
            await catalog.find(who, "lost", CALLER)
    assert catalog.reads == 2
    async with database.begin() as session:
        await session.execute(
            update(AliasVersion).values(targets=[{"model": BASE.name, "weight": 1}])
        )
    watching = asyncio.create_task(catalog.watch(asyncio.Event()))
    async with asyncio.timeout(5):
        while catalog.reads < 3:
            await asyncio.sleep(0)
        await catalog.refresh()
    watching.cancel()
    assert (await catalog.find(who, "lost", CALLER)).candidates[0].name == BASE.name


async def test_another_projects_virtual_model_is_not_read_for(
    database: Database, tenant: FirstTenant
) -> None:
    catalog, who = Counted(database), tenant.organization_id
    await catalog.refresh()
    async with database.begin() as session:
        session.add(
            VirtualModelRow(
                id="vm-1", organization_id=who, project_id=tenant.project_id, name="helper",
                version=1, strategy="fallback", targets=[{"model": BASE.name, "weight": 1}],
                defaults={}, fixed={}, system_prompt=None, patience=None,
            )
        )  # fmt: skip
    with pytest.raises(ModelNotFound):
        await catalog.find(who, "helper", replace(CALLER, project="another"))
    assert catalog.reads == 1
    own = replace(CALLER, project=tenant.project_id)
    assert (await catalog.find(who, "helper", own)).candidates[0].name == BASE.name


async def test_many_new_names_share_a_refresh_and_refreshes_keep_a_distance(
    database: Database, tenant: FirstTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.catalog.catalog.PACE", 0.3)
    catalog, who = Counted(database), tenant.organization_id
    await catalog.refresh()
    for number in range(10):
        await add_alias(database, tenant, f"new{number}", BASE.name)
    started = time.monotonic()
    asked = (catalog.find(who, f"new{number}", CALLER) for number in range(9))
    await asyncio.gather(*asked, catalog.find(who, "new9", CALLER))
    assert catalog.reads <= 3
    await add_alias(database, tenant, "last", BASE.name)
    assert await catalog.find(who, "last", CALLER)
    assert time.monotonic() - started >= 0.3
