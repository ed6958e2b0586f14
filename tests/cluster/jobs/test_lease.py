from __future__ import annotations

import asyncio

import pytest

from cluster.jobs.lease import Lease, LeaseLost
from cluster.store.sql import Database


async def test_the_newest_has_it_and_an_expired_one_is_taken_back(database: Database) -> None:
    old, new = Lease(database, "x", seconds=0.2), Lease(database, "x", seconds=0.2)
    assert await old.renew()
    assert await new.renew()
    assert not await old.renew()
    with pytest.raises(LeaseLost):
        async with database.begin() as session:
            await old.hold(session)
    async with database.begin() as session:
        await new.hold(session)
    await asyncio.sleep(0.25)
    assert await old.renew()
    assert not await new.renew()


async def test_many_first_takers(database: Database) -> None:
    leases = [Lease(database, "x") for _ in range(5)]
    await asyncio.gather(*(lease.renew() for lease in leases))
    assert sum([await lease.renew() for lease in leases]) == 1
