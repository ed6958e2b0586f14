"""Names that are known are resolved in memory; a name that has just come is found in SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import update

from cluster.catalog import catalog
from cluster.catalog.base_models import BaseModels
from cluster.catalog.caller import Caller
from cluster.catalog.catalog import Catalog
from cluster.errors import ModelNotFound, Unavailable
from cluster.settings import Settings
from cluster.store.schema import Adapter
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
