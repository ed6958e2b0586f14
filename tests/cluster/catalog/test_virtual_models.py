"""Virtual models in the store and in the catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cluster.catalog.aliases import Aliases
from cluster.catalog.base_models import BaseModels, ModelKind
from cluster.catalog.caller import Caller
from cluster.catalog.catalog import Catalog
from cluster.catalog.preset import Preset
from cluster.catalog.route import Route
from cluster.catalog.split import Target
from cluster.catalog.virtual_model import Strategy
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from cluster.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from cluster.settings import Settings
from cluster.store.page import Order
from cluster.store.schema import Adapter
from cluster.store.schema import Project as ProjectRow
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import bootstrap
from tests.cluster.catalog.conftest import BASE

EMBEDDER = replace(BASE, name="minilm", kind=ModelKind.EMBEDDING, application="e", max_rank=0)
BOTH = Wish((Target("new", 1.0), Target("budgie", 1.0)))


class Shop:
    def __init__(self, database: Database, redis: object, project: Project) -> None:
        self.database = database
        self.project = project
        self.virtual_models = VirtualModels(database, redis)  # type: ignore[arg-type]
        self.aliases = Aliases(database, redis)  # type: ignore[arg-type]
        self.catalog = Catalog(database)

    def names(self, name: str, request: str = "req", project: str | None = None) -> list[str]:
        caller = Caller(request, "key", project=project or self.project.id)
        plan = self.catalog.resolve(self.project.organization_id, name, caller)
        return [candidate.name for candidate in plan.candidates]


@pytest.fixture
async def shop(database: Database, redis: object, settings: Settings) -> Shop:
    settings.home.mkdir()
    for model in (BASE, EMBEDDER):
        await BaseModels(database).register(model)
    tenant = await bootstrap(settings, database)
    async with database.begin() as session:
        session.add(ProjectRow(id="p-2", organization_id=tenant.organization_id, name="second"))
        session.add(
            Adapter(
                id="adapter-1", organization_id=tenant.organization_id,
                project_id=tenant.project_id, name="new", base_model=BASE.name,
                digest="d" * 64, uri="u", bytes=1, rank=1, target_modules=[], state="published",
            )
        )  # fmt: skip
    return Shop(database, redis, Project(tenant.organization_id, tenant.project_id))


async def test_what_was_given_is_found(shop: Shop) -> None:
    wish = Wish(
        BOTH.targets, Strategy.WEIGHTED, {"temperature": 0.1}, {"max_tokens": 5}, "Be kind.", 2.5
    )
    made = await shop.virtual_models.create(shop.project, "kind", wish)
    assert made == await shop.virtual_models.get(shop.project, "kind")
    assert (made.version, made.strategy, made.patience) == (1, Strategy.WEIGHTED, 2.5)
    assert made.preset == Preset({"temperature": 0.1}, {"max_tokens": 5}, "Be kind.")


async def test_a_change_keeps_what_it_does_not_name(shop: Shop) -> None:
    models = shop.virtual_models
    await models.create(shop.project, "kind", replace(BOTH, system_prompt="Be kind."))
    changed = await models.change(shop.project, "kind", {"fixed": {"n": 1}}, version=1)
    assert (changed.version, changed.preset) == (2, Preset({}, {"n": 1}, "Be kind."))
    assert changed.targets == BOTH.targets
    with pytest.raises(Conflict, match="at version 2 by now, not 1"):
        await models.change(shop.project, "kind", {"system_prompt": None}, version=1)
    ended = await models.change(shop.project, "kind", {"system_prompt": None})
    assert ended.preset.system_prompt is None


async def test_fallbacks_come_in_their_order(shop: Shop) -> None:
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    await shop.catalog.refresh()
    assert shop.names("kind") == ["new", "budgie"]
    async with shop.database.begin() as session:
        (await session.get_one(Adapter, "adapter-1")).state = "retired"
    await shop.catalog.refresh()
    assert shop.names("kind") == ["budgie"], "what is gone is not asked"


async def test_by_weight_the_others_are_fallbacks(shop: Shop) -> None:
    wish = Wish((Target("new", 3.0), Target("budgie", 1.0)), Strategy.WEIGHTED)
    await shop.virtual_models.create(shop.project, "mix", wish)
    await shop.catalog.refresh()
    asked = [tuple(shop.names("mix", f"req{number}")) for number in range(400)]
    shares = Counter(asked)
    assert set(shares) == {("new", "budgie"), ("budgie", "new")}
    assert 240 < shares["new", "budgie"] < 360


async def test_it_may_stand_for_an_alias_but_not_for_its_like(shop: Shop) -> None:
    organization_id = shop.project.organization_id
    await shop.aliases.create(organization_id, "k", "bot", [Target("new", 1.0)])
    await shop.virtual_models.create(shop.project, "kind", Wish((Target("bot", 1.0),)))
    await shop.catalog.refresh()
    assert shop.names("kind") == ["new"]
    for name in ("kind", "other"):
        with pytest.raises(ModelNotFound) as caught:
            wish = Wish((Target("budgie", 1.0), Target(name, 1.0)))
            await shop.virtual_models.create(shop.project, f"on-{name}", wish)
        assert caught.value.param == "targets[1].model"
    with pytest.raises(InvalidRequest, match="different kinds"):
        wish = Wish((Target("bot", 1.0), Target("minilm", 1.0)))
        await shop.virtual_models.create(shop.project, "mixed", wish)


async def test_a_model_that_two_names_come_to_is_asked_once(shop: Shop) -> None:
    await shop.aliases.create(shop.project.organization_id, "k", "bot", [Target("new", 1.0)])
    wish = Wish((Target("bot", 1.0), Target("new", 1.0), Target("budgie", 1.0)))
    await shop.virtual_models.create(shop.project, "kind", wish)
    await shop.catalog.refresh()
    assert shop.names("kind") == ["new", "budgie"]


async def test_it_is_its_projects_own(shop: Shop) -> None:
    second = Project(shop.project.organization_id, "p-2")
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    await shop.virtual_models.create(second, "kind", Wish((Target("budgie", 1.0),)))
    await shop.virtual_models.create(second, "other", BOTH)
    await shop.catalog.refresh()
    assert (shop.names("kind"), shop.names("kind", project="p-2")) == (
        ["new", "budgie"],
        ["budgie"],
    )
    with pytest.raises(ModelNotFound):
        shop.names("other")
    foreign = Project("org-other", shop.project.id)
    with pytest.raises(NotFound):
        await shop.virtual_models.get(foreign, "kind")
    with pytest.raises(NotFound):
        await shop.virtual_models.remove(foreign, "kind")
    listed = [line.id for line in shop.catalog.listings(second.organization_id, "p-2")]
    assert listed == ["budgie", "minilm", "new", "kind", "other"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("budgie", Conflict), ("new", Conflict), ("bot", Conflict), ("kind", Conflict),
        ("a/b", InvalidRequest), ("", InvalidRequest), ("-x", InvalidRequest),
    ],
)  # fmt: skip
async def test_a_name_is_one_things(shop: Shop, name: str, error: type[Exception]) -> None:
    await shop.aliases.create(shop.project.organization_id, "k", "bot", [Target("new", 1.0)])
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    with pytest.raises(error):
        await shop.virtual_models.create(shop.project, name, BOTH)


async def test_an_alias_can_not_take_its_name(shop: Shop) -> None:
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    with pytest.raises(Conflict, match="name of a virtual model"):
        await shop.aliases.create(
            shop.project.organization_id, "k", "kind", [Target("budgie", 1.0)]
        )


async def test_one_that_was_just_made_is_found_and_one_removed_is_gone(shop: Shop) -> None:
    organization_id = shop.project.organization_id
    caller = Caller("req", "key", project=shop.project.id)
    await shop.catalog.refresh()
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    plan = await shop.catalog.find(organization_id, "kind", caller)
    assert isinstance(plan.candidates[0], Route)
    page = await shop.virtual_models.page(shop.project, after=None, limit=10, order=Order.ASCENDING)
    assert [model.name for model in page.items] == ["kind"]
    await shop.virtual_models.remove(shop.project, "kind")
    await shop.catalog.refresh()
    with pytest.raises(ModelNotFound):
        await shop.catalog.find(organization_id, "kind", caller)


async def test_of_all_there_is_a_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.catalog.virtual_models.MAX_VIRTUAL_MODELS", 1)
    await shop.virtual_models.create(shop.project, "kind", BOTH)
    with pytest.raises(Conflict, match="At most 1 virtual models"):
        await shop.virtual_models.create(replace(shop.project, id="p-2"), "kind2", BOTH)
