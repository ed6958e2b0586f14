"""Storing while a caller waits for their last word."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cluster.errors import Unavailable
from cluster.store.sql import Database
from cluster.stored import saver
from cluster.stored.saver import Saver


class Store:
    """Is away for some calls, or for ever."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.kept = 0
        self.open = asyncio.Event()
        self.open.set()

    async def keep(self) -> None:
        await self.open.wait()
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("away")
        self.kept += 1


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver, "PAUSE", 0.001)


async def test_a_store_that_comes_back_in_time_has_it(database: Database) -> None:
    store = Store(away=3)
    assert await Saver(database).save("it", store.keep)
    assert store.kept == 1


async def test_a_store_that_stays_away_is_told_and_takes_no_answer_away(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(away=10**9)
    with caplog.at_level(logging.ERROR):
        assert not await Saver(database, patience=0.02).save("the answer", store.keep)
    assert "the answer is not stored" in caplog.text

    async def broken() -> None:
        raise KeyError("bug")

    assert not await Saver(database).save("another answer", broken)
    assert "bug" in caplog.text


async def test_who_leaves_does_not_end_the_storing(database: Database) -> None:
    store, keeper = Store(), Saver(database)
    store.open.clear()
    waiting = asyncio.create_task(keeper.save("it", store.keep))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    store.open.set()
    async with asyncio.timeout(5):
        while keeper._saving:
            await asyncio.sleep(0.001)
    assert store.kept == 1


async def test_whether_it_is_there(database: Database) -> None:
    await Saver(database).reach()
    gone = Database("sqlite+aiosqlite:////nowhere/at/all.db")
    with pytest.raises(Unavailable):
        await Saver(gone).reach()
    await gone.close()
