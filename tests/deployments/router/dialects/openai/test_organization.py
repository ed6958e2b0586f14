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

from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import LARGEST, Plans
from cluster.tenancy.principal import Limits, Scope
from deployments.router.app import management
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
