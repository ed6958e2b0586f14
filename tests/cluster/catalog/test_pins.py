"""Pinned adapters, and what published means where no replica has a place for all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.base_models import BaseModels
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.pins import Pins
from cluster.catalog.placement import home
from cluster.errors import Conflict, ModelNotFound
from cluster.store.schema import Adapter
from cluster.tenancy.organizations import Organizations
from tests.cluster.catalog.conftest import BASE, AdapterMaker
from tests.cluster.catalog.test_registry import Shop, shop

__all__ = ["shop"]


async def bots(shop: Shop, make_adapter: AdapterMaker, count: int) -> list[Adapter]:
    return [await shop.add(make_adapter(), f"bot{number}") for number in range(count)]


async def test_pins_are_bounded_and_told(shop: Shop, make_adapter: AdapterMaker, redis) -> None:
    await BaseModels(shop.database).register(replace(BASE, places=100))
    await bots(shop, make_adapter, 3)
    pins = Pins(shop.database, redis, most=2)
    for name in ("bot0", "bot1", "bot1"):
        assert (await pins.set(shop.organization, name, True)).pinned
    with pytest.raises(Conflict, match="2 of your adapters of 'budgie' are pinned") as refused:
        await pins.set(shop.organization, "bot2", True)
    assert (refused.value.param, refused.value.code) == ("pinned", "too_many_pinned")
    assert [row.pinned for row in await shop.registry.wanted("budgie")] == [True, True, False]
    assert not (await pins.set(shop.organization, "bot0", False)).pinned
    assert (await pins.set(shop.organization, "bot2", True)).pinned
    await shop.registry.retire(shop.organization, "bot2")
    assert (await pins.set(shop.organization, "bot0", True)).pinned, "a retired one is none"


async def test_half_of_the_places_are_for_what_is_not_pinned(
    shop: Shop, make_adapter: AdapterMaker, redis
) -> None:
    await BaseModels(shop.database).register(replace(BASE, places=5))
    await bots(shop, make_adapter, 3)
    pins = Pins(shop.database, redis, most=8)
    for name in ("bot0", "bot1"):
        await pins.set(shop.organization, name, True)
    with pytest.raises(Conflict, match="2 may be, which is half of the 5"):
        await pins.set(shop.organization, "bot2", True)


async def test_nobody_pins_what_is_anothers(shop: Shop, make_adapter: AdapterMaker, redis) -> None:
    other = await Organizations(shop.database).create("Other", "other", "unlimited")
    await bots(shop, make_adapter, 1)
    pins = Pins(shop.database, redis, most=8)
    for organization, name in ((other.organization.id, "bot0"), (shop.organization, "nope")):
        with pytest.raises(ModelNotFound) as refused:
            await pins.set(organization, name, True)
        assert refused.value.param == "name"


async def test_published_is_what_its_home_holds(shop: Shop, make_adapter: AdapterMaker) -> None:
    """Two replicas with two places and three adapters: each is held by one of them at least."""
    made = await bots(shop, make_adapter, 3)
    for name in ("r1", "r2"):
        await shop.replica(name, places=2)
    assert not await shop.publisher.step()
    replicas = (await shop.directory.read())["budgie"]
    engine_names = [engine_name(row.name, row.digest) for row in made]
    at = {name: home(name, replicas) for name in engine_names}
    for row, name in zip(made, engine_names, strict=True):
        away = next(each.id for each in replicas if each.id != at[name])
        await shop.replica(away, places=2, adapters=frozenset({name}))
        await shop.publisher.step()
        assert (await shop.state(row))[0] == AdapterState.PUBLISHING, "not where it has to be"
        await shop.replica(at[name], places=2, adapters=frozenset({name}))
        await shop.publisher.step()
        assert await shop.state(row) == (AdapterState.PUBLISHED, 1, 1)
    for name in ("r1", "r2"):
        await shop.replica(name, places=2)
    assert not await shop.publisher.step()
    for row in made:
        assert await shop.state(row) == (AdapterState.PUBLISHED, 1, 1), "it comes and goes"


async def test_a_pinned_one_has_to_be_on_all(shop: Shop, make_adapter: AdapterMaker, redis) -> None:
    await BaseModels(shop.database).register(replace(BASE, places=2))
    made = await bots(shop, make_adapter, 3)
    await Pins(shop.database, redis, most=8).set(shop.organization, "bot0", True)
    held = frozenset({engine_name("bot0", made[0].digest)})
    await shop.replica("r1", places=2, adapters=held)
    await shop.replica("r2", places=2)
    await shop.publisher.step()
    assert await shop.state(made[0]) == (AdapterState.PUBLISHING, 1, 2)
    await shop.replica("r2", places=2, adapters=held)
    await shop.publisher.step()
    assert await shop.state(made[0]) == (AdapterState.PUBLISHED, 2, 2)
