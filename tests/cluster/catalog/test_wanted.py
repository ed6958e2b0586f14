"""What replicas should have is read when it changed, and not each second."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from cluster.catalog import wanted
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.wanted import WantedAdapters
from cluster.store.schema import Adapter, now
from tests.cluster.catalog.conftest import AdapterMaker
from tests.cluster.catalog.test_registry import Shop, shop

__all__ = ["shop"]


async def test_it_is_read_anew_where_it_changed(shop: Shop, make_adapter: AdapterMaker) -> None:
    reader = WantedAdapters(shop.database)
    assert list(await reader.read("budgie")) == []
    made = await shop.add(make_adapter())
    first = await reader.read("budgie")
    assert [row.id for row in first] == [made.id]
    assert await reader.read("budgie") is first
    assert await reader.read("other") is not first
    # Each as another process may write it: with a time that lies before the last one read.
    for change in ({"pinned": True}, {"state": AdapterState.PUBLISHED.value}):
        before = await reader.read("budgie")
        async with shop.database.begin() as session:
            past = made.updated_at
            await session.execute(update(Adapter).values(updated_at=past, **change))
        after = await reader.read("budgie")
        assert after is not before
        assert {name: getattr(after[0], name) for name in change} == change
    async with shop.database.begin() as session:
        await session.execute(update(Adapter).values(acknowledged=1, updated_at=now()))
    assert (await reader.read("budgie"))[0].acknowledged == 1
    await shop.registry.retire(shop.organization, "bot")
    assert list(await reader.read("budgie")) == []


async def test_it_is_read_now_and_then_all_the_same(
    shop: Shop, make_adapter: AdapterMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.add(make_adapter())
    reader = WantedAdapters(shop.database)
    first = await reader.read()
    assert await reader.read() is first
    monkeypatch.setattr(wanted, "READ_ANYWAY", 0.0)
    assert await reader.read() is not first
