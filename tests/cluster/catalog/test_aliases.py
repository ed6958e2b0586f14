"""Aliases in the store: versions, what they may stand for, and whose a name is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.alias import Shadow
from cluster.catalog.aliases import Aliases
from cluster.catalog.base_models import BaseModels, ModelKind
from cluster.catalog.caller import Caller, Sticky
from cluster.catalog.catalog import Catalog
from cluster.catalog.split import Target
from cluster.catalog.targets import MAX_TARGETS
from cluster.errors import Conflict, InvalidRequest, LorikeetError, ModelNotFound, NotFound
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.page import Order
from cluster.store.schema import Adapter
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import FirstTenant, bootstrap
from tests.cluster.catalog.conftest import BASE, AdapterMaker

EMBEDDER = replace(BASE, name="minilm", kind=ModelKind.EMBEDDING, application="e", max_rank=0)
CALLER = Caller("req", "key")
ALONE = [Target("budgie", 1.0)]
CANARY = [Target("budgie", 9.0), Target("new", 1.0)]


class Shop:
    def __init__(self, database: Database, redis: object, tenant: FirstTenant) -> None:
        self.database = database
        self.tenant = tenant
        self.organization = tenant.organization_id
        self.aliases = Aliases(database, redis)  # type: ignore[arg-type]
        self.catalog = Catalog(database)

    async def add_adapter(self, name: str, state: str = "published") -> None:
        async with self.database.begin() as session:
            session.add(
                Adapter(
                    id=f"adapter-{name}-{state}", organization_id=self.organization,
                    project_id=self.tenant.project_id, name=name, base_model=BASE.name,
                    digest="d" * 64, uri="u", bytes=1, rank=1, target_modules=[], state=state,
                )
            )  # fmt: skip


@pytest.fixture
async def shop(database: Database, redis: object, settings: Settings) -> Shop:
    settings.home.mkdir()
    for model in (BASE, EMBEDDER):
        await BaseModels(database).register(model)
    made = Shop(database, redis, await bootstrap(settings, database))
    await made.add_adapter("new")
    return made


async def test_every_change_is_a_version(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    made = await aliases.create(org, "key-1", "bot", ALONE, Sticky.USER)
    assert (made.version, made.targets, made.sticky) == (1, tuple(ALONE), Sticky.USER)
    changed = await aliases.change(org, "key-2", "bot", CANARY)
    assert (changed.version, changed.targets, changed.sticky) == (2, tuple(CANARY), Sticky.USER)
    assert await aliases.get(org, "bot") == changed
    promoted = await aliases.change(org, "key-2", "bot", [Target("new", 1)], Sticky.NONE)
    assert promoted.version == 3
    newest, second, first = await aliases.versions(org, "bot")
    assert (newest.version, newest.sticky, newest.key_id) == (3, "none", "key-2")
    assert (second.version, first.key_id) == (2, "key-1")


async def test_rolling_back_twice_is_two_back(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    await aliases.create(org, "k", "bot", ALONE)
    await aliases.change(org, "k", "bot", CANARY)
    await aliases.change(org, "k", "bot", [Target("new", 1)])
    once = await aliases.roll_back(org, "k", "bot")
    assert (once.version, once.targets) == (4, tuple(CANARY))
    twice = await aliases.roll_back(org, "k", "bot")
    assert (twice.version, twice.targets) == (5, tuple(ALONE))
    with pytest.raises(Conflict, match="no version before"):
        await aliases.roll_back(org, "k", "bot")
    named = await aliases.roll_back(org, "k", "bot", to=3)
    assert named.targets == (Target("new", 1),)
    assert (await aliases.versions(org, "bot"))[0].restores == 3
    with pytest.raises(NotFound, match="no version 77"):
        await aliases.roll_back(org, "k", "bot", to=77)


async def test_nothing_is_brought_back_that_nobody_serves(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    await aliases.create(org, "k", "bot", CANARY)
    await aliases.change(org, "k", "bot", ALONE)
    async with shop.database.begin() as session:
        (await session.get_one(Adapter, "adapter-new-published")).state = "retired"
    with pytest.raises(ModelNotFound) as caught:
        await aliases.roll_back(org, "k", "bot")
    assert caught.value.param == "targets[1].model"
    assert (await aliases.get(org, "bot")).version == 2


async def test_a_change_on_top_of_another_is_refused(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    await aliases.create(org, "k", "bot", ALONE)
    await aliases.change(org, "k", "bot", CANARY, version=1)
    with pytest.raises(Conflict, match="at version 2 by now, not 1") as caught:
        await aliases.change(org, "k", "bot", ALONE, version=1)
    assert caught.value.param == "version"


async def test_changes_at_once_are_one_after_the_other(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    await aliases.create(org, "k", "bot", ALONE)
    await asyncio.gather(*(aliases.change(org, "k", "bot", CANARY) for _ in range(8)))
    found = await aliases.versions(org, "bot")
    assert [version.version for version in found] == list(range(9, 0, -1))


@pytest.mark.parametrize(
    ("targets", "param"),
    [
        ([], "targets"),
        ([Target("budgie", 0)], "targets"),
        ([Target("budgie", 1), Target("budgie", 2)], "targets"),
        ([Target(f"m{n}", 1) for n in range(MAX_TARGETS + 1)], "targets"),
        ([Target("budgie", 1), Target("minilm", 1)], "targets"),
        ([Target("budgie", 1), Target("nobody", 1)], "targets[1].model"),
        ([Target("coming", 1)], "targets[0].model"),
        ([Target("bot2", 1)], "targets[0].model"),
    ],
)
async def test_what_a_name_can_not_stand_for(shop: Shop, targets: list[Target], param: str) -> None:
    org, aliases = shop.organization, shop.aliases
    await shop.add_adapter("coming", "publishing")
    await aliases.create(org, "k", "bot2", ALONE)
    with pytest.raises(LorikeetError) as caught:
        await aliases.create(org, "k", "bot", targets)
    assert (caught.value.status in (400, 404), caught.value.param) == (True, param)
    with pytest.raises(NotFound):
        await aliases.get(org, "bot")
    with pytest.raises(LorikeetError) as caught:
        await aliases.change(org, "k", "bot2", targets)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["", "a/b", " bot", "bot\n", "b" * 201, "-bot"])
async def test_names_that_can_not_be(shop: Shop, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await shop.aliases.create(shop.organization, "k", name, ALONE)
    assert caught.value.param == "name"


@pytest.mark.parametrize("name", ["budgie", "new", "coming", "bot"])
async def test_a_name_is_one_things(shop: Shop, name: str) -> None:
    await shop.add_adapter("coming", "publishing")
    await shop.add_adapter("gone", "retired")
    org, aliases = shop.organization, shop.aliases
    for free in ("bot", "gone"):
        await aliases.create(org, "k", free, ALONE)
    with pytest.raises(Conflict) as caught:
        await aliases.create(org, "k", name, ALONE)
    assert caught.value.param == "name"


async def test_no_adapter_takes_an_aliases_name(
    shop: Shop, redis: object, make_adapter: AdapterMaker, tmp_path: object
) -> None:
    registry = AdapterRegistry(shop.database, Artifacts(f"file://{tmp_path}/artifacts"), redis)  # type: ignore[arg-type]
    await shop.aliases.create(shop.organization, "k", "bot", ALONE)

    async def register() -> Adapter:
        return await registry.register(
            organization_id=shop.organization, project_id=shop.tenant.project_id, name="bot",
            base_model="budgie", folder=make_adapter(),
        )  # fmt: skip

    with pytest.raises(Conflict, match="name of an alias"):
        await register()
    await shop.aliases.remove(shop.organization, "bot")
    assert (await register()).name == "bot"


async def test_the_catalogue_leads_to_a_target(shop: Shop) -> None:
    org, catalog = shop.organization, shop.catalog
    await catalog.refresh()
    await shop.aliases.create(org, "k", "bot", [Target("new", 1)])
    (found,) = (await catalog.find(org, "bot", CALLER)).candidates
    assert found.name == "new", "without a refresh"
    lines = catalog.listings(org, "project")
    assert [line.id for line in lines] == ["budgie", "minilm", "new", "bot"]
    with pytest.raises(ModelNotFound):
        await catalog.find("org-other", "bot", CALLER)
    await shop.aliases.remove(org, "bot")
    await catalog.refresh()
    with pytest.raises(ModelNotFound):
        await catalog.find(org, "bot", CALLER)
    with pytest.raises(NotFound):
        await shop.aliases.remove(org, "bot")


async def test_pages_of_aliases(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    made = [await aliases.create(org, "k", f"bot{n}", ALONE) for n in range(3)]
    first = await aliases.page(org, after=None, limit=2, order=Order.ASCENDING)
    assert (first.items, first.has_more) == (tuple(made[:2]), True)
    rest = await aliases.page(org, after=made[1].id, limit=2, order=Order.ASCENDING)
    assert (rest.items, rest.has_more) == ((made[2],), False)


async def test_a_shadow_stays_until_it_is_ended(shop: Shop) -> None:
    org, aliases = shop.organization, shop.aliases
    shadow = Shadow("new", 0.5)
    await aliases.create(org, "k", "bot", ALONE, shadow=shadow)
    assert (await aliases.change(org, "k", "bot", CANARY)).shadow == shadow
    assert (await aliases.change(org, "k", "bot", CANARY, shadow=None)).shadow is None
    assert (await aliases.roll_back(org, "k", "bot")).shadow == shadow
    with pytest.raises(ModelNotFound) as caught:
        await aliases.change(org, "k", "bot", ALONE, shadow=Shadow("nope", 1.0))
    assert caught.value.param == "shadow.model"
    with pytest.raises(InvalidRequest, match="above 0 and at most 1"):
        await aliases.change(org, "k", "bot", ALONE, shadow=Shadow("new", 1.5))
    with pytest.raises(InvalidRequest, match="different kinds"):
        await aliases.change(org, "k", "bot", ALONE, shadow=Shadow("minilm", 1.0))


async def test_half_of_the_requests_are_copied_and_the_same_half_again(shop: Shop) -> None:
    org, catalog = shop.organization, shop.catalog
    await shop.aliases.create(org, "k", "bot", ALONE, shadow=Shadow("new", 0.5))
    await catalog.refresh()

    def copied() -> list[bool]:
        asks = [Caller(f"req{number}", "key") for number in range(400)]
        plans = [catalog.resolve(org, "bot", ask) for ask in asks]
        assert {plan.candidates[0].name for plan in plans} == {"budgie"}
        assert {plan.shadow.name for plan in plans if plan.shadow} == {"new"}
        return [plan.shadow is not None for plan in plans]

    first = copied()
    assert 140 < sum(first) < 260
    assert copied() == first


async def test_of_all_there_is_a_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.catalog.aliases.MAX_ALIASES", 1)
    await shop.aliases.create(shop.organization, "k", "bot", ALONE)
    with pytest.raises(Conflict, match="At most 1 aliases"):
        await shop.aliases.create(shop.organization, "k", "bot2", ALONE)
