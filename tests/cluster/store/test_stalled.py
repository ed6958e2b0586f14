"""A PostgreSQL that stops answering: its connections stay, and nothing comes by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from cluster.errors import Unavailable
from cluster.store import sql
from cluster.store.sql import Database
from cluster.stored.saver import Saver

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes bytes on between clients and a server while `open` is set."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._server = server
        self._folder = folder

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        serving = await asyncio.start_unix_server(self._accept, self._folder / SOCKET)
        yield
        serving.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_unix_connection(self._server / SOCKET)
        await asyncio.gather(self._pass(reader, to_there), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            writer.write(data)
        writer.close()


async def test_it_is_an_outage_and_holds_nobody(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgres_url)
    if "host" not in url.query:
        pytest.skip("the server is not on a unix socket")
    proxy = Proxy(Path(str(url.query["host"])), tmp_path)
    by_proxy = url.update_query_dict({"host": str(tmp_path)})
    monkeypatch.setattr(sql, "COMMAND_TIMEOUT", 0.2)
    database = Database(by_proxy.render_as_string(hide_password=False))

    async def ask(*, stalls_inside: bool) -> None:
        async with database.begin() as session:
            assert await session.scalar(text("SELECT 1")) == 1
            if stalls_inside:
                proxy.open.clear()
                await session.scalar(text("SELECT 1"))

    async with proxy.run(), asyncio.timeout(10):
        for stalls_inside in (True, False):  # there, and then when it is asked
            proxy.open.set()
            await ask(stalls_inside=False)
            if not stalls_inside:
                proxy.open.clear()
            with pytest.raises(Unavailable):
                await ask(stalls_inside=stalls_inside)
        # A new connection would be waited for as long as one may take to be made.
        with pytest.raises(Unavailable):
            await Saver(database, patience=0.1).reach()
        proxy.open.set()
        await ask(stalls_inside=False)
        await database.close()
