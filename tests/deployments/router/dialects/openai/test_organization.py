"""What an admin reads and sets of the organization: its limits, and the list of its keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from cluster.catalog.prices import Prices
from cluster.store.schema import UsageEvent
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import LARGEST, Limits, Scope
from deployments.router.management import management
from tests.deployments.router.conftest import Rig

LIMITS = "/v1/organization/limits"
NONE = {
    "object": "organization.limits", "requests_per_minute": None, "requests_per_day": None,
    "tokens_per_minute": None, "max_concurrent": None,
}  # fmt: skip


@pytest.fixture
async def admin(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the management routes, with the admin key."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    database, redis = rig.platform.database, rig.platform.redis
    authenticator = Authenticator(database, redis)
    app = management(lifespan)
    app.state.lorikeet = SimpleNamespace(
        platform=rig.platform,
        authenticator=authenticator,
        keys=Keys(database, redis),
        plans=Plans(database, redis),
        prices=Prices(database, redis),
        catalog=rig.catalog,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://x",
        headers={"authorization": f"Bearer {rig.key}"},
    ) as made:
        yield made
    await authenticator.close()


async def test_limits_are_set_one_by_one_and_lifted(admin: httpx.AsyncClient) -> None:
    assert (await admin.get(LIMITS)).json() == NONE
    for changes, found in (
        ({"requests_per_minute": 60, "max_concurrent": 0}, (60, 0)),
        ({"max_concurrent": LARGEST}, (60, LARGEST)),
        ({}, (60, LARGEST)),
        ({"requests_per_minute": None}, (None, LARGEST)),
    ):
        expected = NONE | dict(zip(("requests_per_minute", "max_concurrent"), found, strict=True))
        answer = await admin.post(LIMITS, json=changes)
        assert (answer.status_code, answer.json()) == (200, expected)
        assert (await admin.get(LIMITS)).json() == expected


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"requests_per_minute": -1}, "requests_per_minute", ["-1", "0 to 100000000", "null"]),
        ({"requests_per_day": LARGEST + 1}, "requests_per_day", ["100000001", "0 to 100000000"]),
        ({"tokens_per_minute": "many"}, "tokens_per_minute", ["many", "0 to 100000000", "null"]),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute", ["1.5"]),
        ({"max_concurrent": True}, "max_concurrent", ["True"]),
        ({"rpm": 5}, "rpm", ["rpm"]),
        ([], None, []),
    ],
)
async def test_a_wrong_limit_names_its_field_and_what_is_allowed(
    admin: httpx.AsyncClient, body: object, param: str | None, told: list[str]
) -> None:
    answer = await admin.post(LIMITS, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert [word for word in told if word not in error["message"]] == []
    assert (await admin.get(LIMITS)).json() == NONE


async def test_another_router_knows_within_a_second(rig: Rig, admin: httpx.AsyncClient) -> None:
    other = Authenticator(rig.platform.database, rig.platform.redis)
    hearing = asyncio.create_task(other.run())
    header = f"Bearer {rig.key}"
    while await rig.platform.redis.pubsub_numsub("lorikeet:keys") == [(b"lorikeet:keys", 0)]:
        await asyncio.sleep(0.01)
    assert (await other.authenticate(header)).limits == Limits()
    await admin.post(LIMITS, json={"requests_per_day": 7})
    async with asyncio.timeout(1):
        while (await other.authenticate(header)).limits != Limits(requests_per_day=7):
            await asyncio.sleep(0.01)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await other.close()


async def test_only_an_admin_reads_and_sets_limits(rig: Rig, admin: httpx.AsyncClient) -> None:
    scopes = [scope.value for scope in Scope if scope is not Scope.ADMIN]
    made = await admin.post("/v1/organization/keys", json={"name": "x", "scopes": scopes})
    admin.headers["authorization"] = f"Bearer {made.json()['key']}"
    assert (await admin.get(LIMITS)).status_code == 403
    assert (await admin.post(LIMITS, json={"max_concurrent": None})).status_code == 403


async def test_keys_are_listed_by_pages(admin: httpx.AsyncClient) -> None:
    keys = "/v1/organization/keys"
    for name in "ab":
        await admin.post(keys, json={"name": name})
    whole = (await admin.get(keys)).json()
    assert [row["name"] for row in whole["data"]] == ["b", "a", "admin"]
    assert whole["has_more"] is False
    first = (await admin.get(keys, params={"limit": 2})).json()
    assert first["data"] == whole["data"][:2]
    assert (first["last_id"], first["has_more"]) == (whole["data"][1]["id"], True)
    rest = (await admin.get(keys, params={"limit": 2, "after": first["last_id"]})).json()
    assert (rest["data"], rest["has_more"]) == (whole["data"][2:], False)
    for query in ("limit=0", "limit=10001", "limit=x", "after=key-0"):
        answer = await admin.get(f"{keys}?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2700-01-01T00:00:00"]
)
async def test_an_expiry_that_is_no_moment_is_refused(
    admin: httpx.AsyncClient, moment: str
) -> None:
    body = {"name": "a", "expires_at": moment}
    answer = await admin.post("/v1/organization/keys", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expires_at")


async def test_a_far_expiry_is_kept(admin: httpx.AsyncClient) -> None:
    far = datetime(2700, 1, 1, tzinfo=UTC)
    body = {"name": "a", "expires_at": far.isoformat()}
    made = (await admin.post("/v1/organization/keys", json=body)).json()
    assert made["expires_at"] == far.timestamp()


KEYS, BUDGET, PRICES = (f"/v1/organization/{noun}" for noun in ("keys", "budget", "prices"))


async def test_a_key_is_changed_field_by_field(admin: httpx.AsyncClient) -> None:
    given = {
        "name": "a", "models": ["budgie", "ft:*"], "limits": {"requests_per_minute": 5},
        "budget": {"period": "month", "usd": "12.50"},
    }  # fmt: skip
    made = (await admin.post(KEYS, json=given)).json()
    path = f"{KEYS}/{made['id']}"
    assert made["models"] == ["budgie", "ft:*"]
    assert made["limits"] == {**_none(), "requests_per_minute": 5}
    assert made["budget"] == {"period": "month", "usd": "12.5", "tokens": None}
    for change, field, found in (
        ({"name": "b"}, "name", "b"),
        ({"scopes": ["read", "train"]}, "scopes", ["read", "train"]),
        ({"limits": {"max_concurrent": 2}}, "limits",
         {**_none(), "requests_per_minute": 5, "max_concurrent": 2}),
        ({"limits": {"requests_per_minute": None, "max_concurrent": None}}, "limits", _none()),
        ({"models": None}, "models", None),
        ({"expires_at": "2700-01-01T00:00:00Z"}, "expires_at",
         int(datetime(2700, 1, 1, tzinfo=UTC).timestamp())),
        ({"expires_at": None}, "expires_at", None),
        ({"budget": {"period": "day", "tokens": 7}}, "budget",
         {"period": "day", "usd": None, "tokens": 7}),
        ({"budget": None}, "budget", None),
    ):  # fmt: skip
        answer = await admin.post(path, json=change)
        assert (answer.status_code, answer.json()[field]) == (200, found)
        listed = {row["id"]: row for row in (await admin.get(KEYS)).json()["data"]}
        assert listed[made["id"]] == answer.json()
    assert "key" not in answer.json()
    assert answer.json()["name"] == "b"


def _none() -> dict[str, None]:
    return {name: None for name in NONE if name != "object"}


WRONG_KEYS: list[tuple[object, str]] = [
    ({"name": ""}, "name"),
    ({"name": None}, "name"),
    ({"scopes": []}, "scopes"),
    ({"models": []}, "models"),
    ({"models": ["a*b"]}, "models[0]"),
    ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
    ({"limits": {"max_concurrent": -1}}, "limits.max_concurrent"),
    ({"limits": {"rpm": 1}}, "limits.rpm"),
    ({"budget": {"period": "week", "usd": 1}}, "budget.period"),
    ({"budget": {"period": "day"}}, "budget.usd"),
    ({"budget": {"period": "day", "usd": "much"}}, "budget.usd"),
    ({"budget": {"period": "day", "usd": True}}, "budget.usd"),
    ({"budget": {"period": "day", "usd": 1e300}}, "budget.usd"),
    ({"budget": {"period": "day", "usd": -1}}, "budget.usd"),
    ({"budget": {"period": "day", "tokens": 1.5}}, "budget.tokens"),
    ({"secret": "x"}, "secret"),
]


async def test_a_wrong_change_names_its_field(admin: httpx.AsyncClient) -> None:
    made = (await admin.post(KEYS, json={"name": "a"})).json()
    del made["key"]
    for body, param in WRONG_KEYS:
        answer = await admin.post(f"{KEYS}/{made['id']}", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert (await admin.get(f"{KEYS}/{made['id']}")).json() == made


async def test_only_a_live_key_of_ones_own_is_changed(admin: httpx.AsyncClient) -> None:
    made = (await admin.post(KEYS, json={"name": "a"})).json()
    await admin.delete(f"{KEYS}/{made['id']}")
    assert (await admin.post(f"{KEYS}/{made['id']}", json={"name": "b"})).status_code == 409
    assert (await admin.post(f"{KEYS}/key-0", json={"name": "b"})).status_code == 404
    assert (await admin.get(f"{KEYS}/key-0")).status_code == 404


async def test_a_change_of_models_is_heard_within_a_second(
    rig: Rig, admin: httpx.AsyncClient
) -> None:
    other = Authenticator(rig.platform.database, rig.platform.redis)
    hearing = asyncio.create_task(other.run())
    made = (await admin.post(KEYS, json={"name": "a"})).json()
    header = f"Bearer {made['key']}"
    while await rig.platform.redis.pubsub_numsub("lorikeet:keys") == [(b"lorikeet:keys", 0)]:
        await asyncio.sleep(0.01)
    assert (await other.authenticate(header)).may_use("budgie")
    await admin.post(f"{KEYS}/{made['id']}", json={"models": ["other"]})
    async with asyncio.timeout(1):
        while (await other.authenticate(header)).may_use("budgie"):
            await asyncio.sleep(0.01)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await other.close()


async def test_a_key_lists_the_models_that_it_may_name(admin: httpx.AsyncClient) -> None:
    for models, listed, status in ((["bud*"], ["budgie"], 200), (["x"], [], 403)):
        made = (await admin.post(KEYS, json={"name": "a", "models": models})).json()
        asking = {"authorization": f"Bearer {made['key']}"}
        found = (await admin.get("/v1/models", headers=asking)).json()["data"]
        assert [model["id"] for model in found] == listed
        assert (await admin.get("/v1/models/budgie", headers=asking)).status_code == status


async def test_a_budget_shows_what_is_spent_of_it(rig: Rig, admin: httpx.AsyncClient) -> None:
    assert (await admin.get(BUDGET)).json() == {"object": "organization.budget", "budget": None}
    async with rig.platform.database.begin() as session:
        session.add(
            UsageEvent(
                request_id="r", organization_id=rig.tenant.organization_id, project_id="p",
                key_id="k", endpoint="/v1/chat/completions", model="budgie", stream=False,
                status=200, prompt_tokens=3, completion_tokens=4, cached_tokens=0, cost=5 * 10**8,
                latency_ms=1.0, started_at=datetime.now(UTC),
            )
        )  # fmt: skip
    budget = {"period": "total", "usd": 2, "tokens": 10}
    shown = (await admin.post(BUDGET, json={"budget": budget})).json()["budget"]
    assert shown == {
        "period": "total", "usd": "2", "tokens": 10, "spent_usd": "0.5", "spent_tokens": 7,
        "resets_at": None,
    }  # fmt: skip
    assert (await admin.get(BUDGET)).json()["budget"] == shown
    wrong = await admin.post(BUDGET, json={"budget": {"period": "day"}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "budget.usd")
    assert (await admin.post(BUDGET, json={"budget": None})).json()["budget"] is None


async def test_prices_are_set_listed_and_taken_back(admin: httpx.AsyncClient) -> None:
    later = "2700-01-01T00:00:00Z"
    first = await admin.post(PRICES, json={"model": "budgie", "input": 0.1, "output": "0.25"})
    assert first.status_code == 201
    assert [first.json()[part] for part in ("input", "cached_input", "output")] == [
        "0.1", "0.1", "0.25",
    ]  # fmt: skip
    body = {"model": "openai/gpt", "input": 1, "cached_input": 0, "valid_from": later}
    second = (await admin.post(PRICES, json=body)).json()
    listed = (await admin.get(PRICES)).json()["data"]
    assert listed == [second, first.json()]
    assert (await admin.get(PRICES, params={"model": "budgie"})).json()["data"] == listed[1:]
    assert (await admin.delete(f"{PRICES}/{second['id']}")).json()["deleted"] is True
    assert (await admin.delete(f"{PRICES}/{second['id']}")).status_code == 404
    assert (await admin.delete(f"{PRICES}/{first.json()['id']}")).status_code == 409


WRONG_PRICES: list[tuple[object, str]] = [
    ({"model": "m"}, "input"),
    ({"model": "", "input": 1}, "model"),
    ({"model": "m", "input": -1}, "input"),
    ({"model": "m", "input": None}, "input"),
    ({"model": "m", "input": 1, "cached_input": "x"}, "cached_input"),
    ({"model": "m", "input": 1, "output": 100_001}, "output"),
    ({"model": "m", "input": 1, "valid_from": "2001-01-01T00:00:00Z"}, "valid_from"),
    ({"model": "m", "input": 1, "currency": "EUR"}, "currency"),
]


async def test_a_wrong_price_names_its_field(admin: httpx.AsyncClient) -> None:
    for body, param in WRONG_PRICES:
        answer = await admin.post(PRICES, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (await admin.get(PRICES)).json()["data"] == []


async def test_only_an_admin_sees_budgets_and_prices(admin: httpx.AsyncClient) -> None:
    made = await admin.post(KEYS, json={"name": "x", "scopes": ["inference", "read", "train"]})
    admin.headers["authorization"] = f"Bearer {made.json()['key']}"
    for answer in (
        await admin.get(BUDGET),
        await admin.post(BUDGET, json={"budget": None}),
        await admin.get(PRICES),
        await admin.post(PRICES, json={"model": "m", "input": 0}),
        await admin.delete(f"{PRICES}/x"),
        await admin.get(f"{KEYS}/{made.json()['id']}"),
        await admin.post(f"{KEYS}/{made.json()['id']}", json={"scopes": ["admin"]}),
    ):
        assert answer.status_code == 403
