"""Who holds a name, on both kinds of database."""

from __future__ import annotations

import asyncio

from cluster.store.sql import Database, take_turns


async def test_the_second_waits_for_the_first(database: Database) -> None:
    entered: list[str] = []

    async def hold(who: str) -> None:
        async with database.begin() as session:
            await take_turns(session, "blob")
            entered.append(who)

    async with database.begin() as session:
        await take_turns(session, "blob")
        second = asyncio.create_task(hold("second"))
        await asyncio.sleep(0.3)
        assert entered == []
    await second
    assert entered == ["second"]
