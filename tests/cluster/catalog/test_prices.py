"""Prices: what is valid when, and what a request costs by it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalog.price import DEAREST, FREE, Price
from cluster.catalog.price_book import PriceBook
from cluster.catalog.prices import Prices
from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.store.redis import CATALOG_CHANNEL
from cluster.store.schema import now
from cluster.tenancy.organizations import Organizations
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import Limits
from cluster.usage.money import NANOS

CHEAP, DEAR = Price(NANOS, NANOS // 10, 2 * NANOS), Price(10 * NANOS, NANOS, 20 * NANOS)


@pytest.fixture
async def organizations(database, redis) -> tuple[str, str]:
    await Plans(database, redis).put("p", Limits())
    made = [await Organizations(database).create(slug, slug, "p") for slug in ("ann", "bob")]
    return made[0].organization.id, made[1].organization.id


def test_a_request_costs_what_its_tokens_do() -> None:
    assert CHEAP.cost(1_000_000, 0, 1_000_000) == 3 * NANOS
    assert CHEAP.cost(1_000_000, 400_000, 0) == 640_000_000
    assert CHEAP.cost(3, 9, 0) == 300  # more from the cache than there is, is all
    assert Price(499_999, 0, 0).cost(1, 0, 0) == 0  # half a nano-dollar rounds up
    assert Price(500_000, 0, 0).cost(1, 0, 0) == 1


prices = st.builds(Price, *[st.integers(0, DEAREST)] * 3)
counts = st.integers(0, 10**6)


@given(prices, counts, counts, counts)
def test_a_reservation_covers_the_cost(
    price: Price, prompt: int, cached: int, completion: int
) -> None:
    assert price.cost(prompt, cached, completion) <= price.most(prompt, completion)


async def test_the_price_of_the_moment_and_the_first_name_that_has_one(
    database, redis, organizations
) -> None:
    (ann, bob), made, book = organizations, Prices(database, redis), PriceBook(database)
    names, before = ("alias", "ft:x", "budgie"), now()
    await made.set(ann, "key", "budgie", CHEAP)
    tomorrow = now() + timedelta(days=1)
    await made.set(ann, "key", "budgie", DEAR, tomorrow)
    await book.refresh()
    assert book.find(ann, names, before) == FREE  # what was used before is paid
    assert book.find(ann, names, now()) == CHEAP
    assert book.find(ann, names, tomorrow) == DEAR
    assert book.find(bob, names, now()) == FREE
    await made.set(ann, "key", "ft:x", DEAR)
    await made.set(ann, "key", "openai/gpt", DEAR)
    await book.refresh()
    assert book.find(ann, names, now()) == DEAR  # the adapter's own
    assert book.find(ann, ("alias", "openai/gpt", "openai/gpt"), now()) == DEAR
    assert book.find(ann, ("budgie",), now()) == CHEAP


async def test_a_price_to_come_may_be_replaced_and_removed(database, redis, organizations) -> None:
    (ann, bob), made = organizations, Prices(database, redis)
    later = now() + timedelta(hours=1)
    await made.set(ann, "key", "budgie", CHEAP, later)
    row = await made.set(ann, "key", "budgie", DEAR, later)
    valid = await made.set(ann, "key", "budgie", CHEAP)
    page = await made.list(ann, limit=1)
    assert ([item.id for item in page.items], page.has_more) == ([row.id], True)
    rest = await made.list(ann, after=row.id, model="budgie")
    assert [item.id for item in rest.items] == [valid.id]
    assert (await made.list(bob)).items == ()
    assert (await made.list(ann, model="x")).items == ()
    with pytest.raises(NotFound):
        await made.remove(bob, row.id)
    await made.remove(ann, row.id)
    with pytest.raises(Conflict):
        await made.remove(ann, valid.id)
    assert [item.id for item in (await made.list(ann)).items] == [valid.id]


async def test_wrong_prices_name_their_field(database, redis, organizations) -> None:
    made = Prices(database, redis)
    for price, model, valid_from, param in (
        (Price(-1, 0, 0), "m", None, "input"),
        (Price(0, 0, DEAREST + 1), "m", None, "output"),
        (CHEAP, "", None, "model"),
        (CHEAP, "m", now() - timedelta(seconds=1), "valid_from"),
    ):
        with pytest.raises(InvalidRequest) as raised:
            await made.set(organizations[0], "key", model, price, valid_from)
        assert raised.value.param == param


async def test_a_router_hears_of_a_price(database, redis, organizations) -> None:
    book, changes = PriceBook(database), asyncio.Event()
    watching = asyncio.create_task(book.watch(changes))
    async with redis.pubsub() as channel:
        await channel.subscribe(CATALOG_CHANNEL)
        await channel.get_message(timeout=1.0)
        await Prices(database, redis).set(organizations[0], "key", "budgie", CHEAP)
        assert await channel.get_message(timeout=1.0) is not None
    changes.set()
    async with asyncio.timeout(5):
        while book.find(organizations[0], ("budgie",), now()) != CHEAP:
            await asyncio.sleep(0.01)
    watching.cancel()


async def test_prices_to_come_are_bounded(
    database, redis, organizations, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ann, _), made = organizations, Prices(database, redis)
    monkeypatch.setattr("cluster.catalog.prices.MAX_COMING", 1)
    later = now() + timedelta(hours=1)
    await made.set(ann, "key", "budgie", CHEAP, later)
    await made.set(ann, "key", "budgie", DEAR, later)  # in its place
    await made.set(ann, "key", "budgie", CHEAP)
    with pytest.raises(Conflict):
        await made.set(ann, "key", "budgie", CHEAP, later + timedelta(hours=1))
    await made.set(ann, "key", "other", CHEAP, later)


async def test_prices_that_no_request_can_cost_are_not_held(
    database, redis, organizations, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ann, _), made, book = organizations, Prices(database, redis), PriceBook(database)
    present = now()
    for days, price in ((9, DEAR), (5, CHEAP), (0, DEAR)):
        before = present - timedelta(days=days)
        monkeypatch.setattr("cluster.catalog.prices.now", lambda before=before: before)
        await made.set(ann, "key", "budgie", price)
    await book.refresh()
    found = [book.find(ann, ("budgie",), present - timedelta(days=days)) for days in (9, 5, 1, 0)]
    assert found == [FREE, CHEAP, CHEAP, DEAR]
