"""The SQL store: the schema, transactions, and what counts as an outage."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from cluster.errors import InvalidRequest, Unavailable
from cluster.store.schema import Plan, Row
from cluster.store.sql import Database, insert_missing, upgrade


async def test_an_upgrade_may_be_repeated(settings) -> None:
    await upgrade(settings)
    await upgrade(settings)
    engine = create_engine(settings.sql_url.replace("+aiosqlite", ""))
    assert set(inspect(engine).get_table_names()) == {*Row.metadata.tables, "alembic_version"}
    engine.dispose()


def test_the_migrations_make_the_schema(sqlite_template) -> None:
    engine = create_engine(f"sqlite:///{sqlite_template}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Row.metadata) == []
    engine.dispose()


UPGRADE = """
from pathlib import Path
from cluster.settings import Settings
from cluster.store.sql import upgrade

async def main(index, home, url):
    await upgrade(Settings(home=Path(home) / str(index), database_url=url))
"""


@pytest.mark.slow
def test_processes_of_different_homes_take_turns(postgres, tmp_path, in_processes) -> None:
    with postgres.scratch() as name:
        with in_processes(3, UPGRADE, str(tmp_path), postgres.database(name)) as upgrades:
            assert upgrades.wait() == 0
        postgres.run("SELECT 1 FROM usage_events", name)


async def test_an_exception_rolls_back(database) -> None:
    async def fail() -> None:
        async with database.begin() as session:
            session.add(Plan(key="p"))
            await session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with database.begin() as session:
        assert await session.get(Plan, "p") is None


async def test_rows_that_are_there_are_skipped(database) -> None:
    async with database.begin() as session:
        await insert_missing(session, Plan, [{"key": "a", "max_concurrent": 1}])
        await insert_missing(
            session, Plan, [{"key": key, "max_concurrent": 2} for key in ("a", "b", "b")]
        )
    async with database.begin() as session:
        plans = (await session.scalars(select(Plan).order_by(Plan.key))).all()
    assert [(plan.key, plan.max_concurrent) for plan in plans] == [("a", 1), ("b", 2)]


async def test_a_mistake_is_no_outage(database) -> None:
    async def execute(statement: str) -> None:
        async with database.begin() as session:
            await session.execute(text(statement))

    await execute("INSERT INTO plans (key) VALUES ('a')")
    with pytest.raises(IntegrityError):
        await execute("INSERT INTO plans (key) VALUES ('a')")
    with pytest.raises(SQLAlchemyError) as raised:
        await execute("SELECT nonsense FROM nowhere")
    assert isinstance(raised.value, ProgrammingError) or "no such table" in str(raised.value)


async def test_a_nul_in_a_text_is_the_callers_mistake(database) -> None:
    async def read() -> Plan | None:
        async with database.begin() as session:
            return await session.get(Plan, "a\0")

    if database.url.startswith("sqlite"):
        assert await read() is None
    else:
        with pytest.raises(InvalidRequest, match="NUL"):
            await read()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////nowhere/at/all.db",
        "postgresql+asyncpg://nobody@127.0.0.1:1/none",
        "postgresql+asyncpg://nobody@/none?host=/nowhere",
    ],
)
async def test_a_database_that_is_not_there_is_an_outage(url) -> None:
    database = Database(url)
    with pytest.raises(Unavailable):
        async with database.begin() as session:
            await session.execute(text("SELECT 1"))
    await database.close()
    await asyncio.sleep(0.1)  # aiosqlite's thread still reports to the loop


async def test_a_server_that_ends_our_connections_is_an_outage(postgres, postgres_url) -> None:
    database = Database(postgres_url)

    async def be_ended() -> None:
        async with database.begin() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            await asyncio.to_thread(postgres.run, f"SELECT pg_terminate_backend({pid})")
            await session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await be_ended()
    async with database.begin() as session:  # the next one finds a new connection
        assert await session.scalar(text("SELECT 1")) == 1
    await database.close()


async def test_a_pool_that_is_used_up_is_an_outage(postgres_url) -> None:
    database = Database(postgres_url)
    database._engine.pool._timeout = 0.1  # type: ignore[attr-defined]

    async def hold() -> None:
        async with database.begin() as session:
            await session.execute(text("SELECT pg_sleep(0.6)"))

    outcomes = await asyncio.gather(*(hold() for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), Unavailable}
    await database.close()


async def test_a_write_lock_that_is_held_is_an_outage(sqlite_url) -> None:
    first, second = Database(sqlite_url), Database(sqlite_url)

    async def write() -> None:
        async with second.begin() as session:
            await session.execute(text("PRAGMA busy_timeout=50"))
            await insert_missing(session, Plan, [{"key": "b"}])

    async with first.begin() as holder:
        await insert_missing(holder, Plan, [{"key": "a"}])
        with pytest.raises(Unavailable):
            await write()
    await first.close()
    await second.close()
