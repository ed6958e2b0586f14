"""The SQL store: one engine a process, short transactions, the schema brought up to date."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from cluster.errors import InvalidRequest, Unavailable
from cluster.settings import Settings
from cluster.store.schema import Row

MIGRATIONS = Path(__file__).parent / "migrations"
NUL_REFUSED = "22021"
"""PostgreSQL's SQLSTATE for a NUL character in a text."""
COMMAND_TIMEOUT = 10.0
"""Seconds that PostgreSQL has for a statement. One that is cut off would hold whoever asks it until
TCP gives up, which may take hours."""
SCHEMA_LOCK = 0x10121CEE  # any constant: it names our advisory lock in PostgreSQL


class Database:
    """Sessions on one SQL database. Raises Unavailable where the database is away."""

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {} if sqlite else {"pool_size": 5, "max_overflow": 10}
        asyncpg = {"timeout": 5, "command_timeout": COMMAND_TIMEOUT}
        options["connect_args"] = {"timeout": 30} if sqlite else asyncpg
        self._engine = create_async_engine(url, pool_pre_ping=not sqlite, **options)
        if sqlite:
            event.listen(self._engine.sync_engine, "connect", _sqlite_pragmas)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A transaction: committed at the end of the block, rolled back by an exception.

        A statement that PostgreSQL doesn't answer in time is an outage too: asyncpg's TimeoutError
        is an OSError. Raises InvalidRequest where PostgreSQL refuses a text; SQLite takes it.
        """
        try:
            async with self._sessions.begin() as session:
                yield session
        except (OSError, DBAPIError, PoolExhausted) as error:
            if isinstance(error, DBAPIError):
                if getattr(error.orig, "sqlstate", None) == NUL_REFUSED:
                    raise InvalidRequest(
                        "A text holds a NUL character, which the database does not keep."
                    ) from error
                if not _is_outage(error):
                    raise
            raise Unavailable("The database does not answer.") from error

    async def close(self) -> None:
        await self._engine.dispose()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raises Unavailable where the block, which waits for the database, takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable("The database does not answer.") from error


async def insert_missing(
    session: AsyncSession, table: type[Row], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows whose unique values are not there yet, and skip the others."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table.__table__).on_conflict_do_nothing()
    await session.execute(statement, [dict(row) for row in rows])


async def take_turns(session: AsyncSession, name: str) -> None:
    """Until the transaction ends, be the only one that holds `name`; what others committed is seen.

    SQLite has one writer: there it holds everything.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
        )
    else:  # changes nothing, and takes the write lock
        await session.execute(text("UPDATE leases SET owner = owner WHERE 1 = 0"))


def _is_outage(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:  # PostgreSQL: connection, resources, shutdown or start, system
        return error.connection_invalidated or state[:2] in ("08", "53", "57", "58")
    words = ("locked", "unable to open", "connection", "timeout", "disk i/o", "is full")
    return error.connection_invalidated or any(word in str(error.orig).lower() for word in words)


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def upgrade(settings: Settings, revision: str = "head") -> None:
    """Bring the schema to `revision`. Processes that start together take turns."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(settings.sql_url, poolclass=NullPool)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    lock = await anyio.to_thread.run_sync(_take, settings.home / "schema.lock")
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
            await connection.run_sync(run)
    finally:
        os.close(lock)
        await engine.dispose()


def _take(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
