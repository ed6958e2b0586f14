"""What an organization reads of its usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from cluster.store.schema import UsageEvent
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai import usage
from tests.cluster.jobs.world import World
from tests.deployments.router.dialects.openai.serving import answering

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def event(number: int, organization: str, started: datetime, **more: object) -> UsageEvent:
    values = {
        "endpoint": "/v1/chat/completions", "model": "budgie", "stream": False, "status": 200,
        "prompt_tokens": 10, "completion_tokens": 3, "cached_tokens": 1, "latency_ms": 1.0, **more,
    }  # fmt: skip
    return UsageEvent(
        request_id=f"r{number}", organization_id=organization, project_id="p", key_id="k",
        started_at=started, **values,
    )  # fmt: skip


def app(world: World, who: Principal) -> FastAPI:
    services = SimpleNamespace(platform=SimpleNamespace(database=world.database))
    return answering(services, lambda _: who, usage.router)


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.database.begin() as session:
        session.add_all(
            [
                event(1, "org-ann", NOON, cost=5),
                event(2, "org-ann", NOON + timedelta(hours=1), status=500),
                event(3, "org-ann", NOON, model="bot", endpoint="/v1/completions"),
                event(4, "org-ann", NOON, model="e5", endpoint="/v1/embeddings"),
                event(8, "org-ann", NOON, model="guard", endpoint="/v1/moderations"),
                event(9, "org-ann", NOON, model="ranker", endpoint="/v2/rerank"),
                event(10, "org-ann", NOON, model="ranker", endpoint="/score"),
                event(5, "org-ann", NOON + 2 * DAY),
                event(6, "org-ann", NOON + 3 * DAY),
                event(7, "org-bob", NOON),
            ]
        )
    transport = httpx.ASGITransport(app(world, world.ann))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_days_and_models_of_ones_own(http: httpx.AsyncClient) -> None:
    start, end = int(NOON.timestamp()), int((NOON + 2.5 * DAY).timestamp())
    page = (
        await http.get(
            "/v1/organization/usage/completions", params={"start_time": start, "end_time": end}
        )
    ).json()
    days = page["data"]
    assert [len(day["results"]) for day in days] == [2, 0, 1]
    midnight = int(NOON.replace(hour=0).timestamp())
    assert [day["start_time"] for day in days] == [midnight + n * 86400 for n in range(3)]
    assert {one["model"]: one for one in days[0]["results"]}["budgie"] == {
        "object": "organization.usage.completions.result", "model": "budgie",
        "num_model_requests": 1, "num_failed_requests": 1, "input_tokens": 20,
        "input_cached_tokens": 2, "output_tokens": 6, "cost_usd": "0.000000005",
    }  # fmt: skip
    page = (
        await http.get(
            "/v1/organization/usage/embeddings", params={"start_time": start, "end_time": end}
        )
    ).json()
    assert [one["model"] for day in page["data"] for one in day["results"]] == ["e5"]


@pytest.mark.parametrize(
    ("kind", "model", "requests"), [("moderations", "guard", 1), ("rerankings", "ranker", 2)]
)
async def test_each_kind_of_requests_has_its_page(
    http: httpx.AsyncClient, kind: str, model: str, requests: int
) -> None:
    times = {"start_time": int(NOON.timestamp()), "end_time": int(NOON.timestamp()) + 60}
    page = (await http.get(f"/v1/organization/usage/{kind}", params=times)).json()
    (result,) = page["data"][0]["results"]
    assert result["object"] == f"organization.usage.{kind}.result"
    assert (result["model"], result["num_model_requests"]) == (model, requests)


@pytest.mark.parametrize(
    "query",
    ["", "start_time=x", "start_time=-1", "start_time=9999999999999", "start_time=0",
     "start_time=1000000&end_time=1"],
)  # fmt: skip
async def test_bad_times(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/organization/usage/completions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "start_time"


@pytest.mark.parametrize("kind", ["completions", "embeddings"])
@pytest.mark.parametrize(
    ("query", "param", "told"),
    [
        ("bucket_width=1h", "bucket_width", "'1d'"),
        ("bucket_width=zz", "bucket_width", "'1d'"),
        ("group_by=%00", "group_by[0]", "'model'"),
        ("group_by[]=project_id", "group_by[][0]", "'model'"),
        ("group_by=model&group_by=user_id", "group_by[1]", "'model'"),
        ("page=zz", "page", "page"),
        ("project_ids=p", "project_ids", "project_ids"),
        ("limit=0", "limit", "1"),
        ("limit=2", "limit", "3 days"),
    ],
)
async def test_what_is_not_supported_is_refused_by_name(
    http: httpx.AsyncClient, kind: str, query: str, param: str, told: str
) -> None:
    start, end = int(NOON.timestamp()), int((NOON + 2 * DAY).timestamp())
    answer = await http.get(
        f"/v1/organization/usage/{kind}?start_time={start}&end_time={end}&{query}"
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert told in error["message"]


async def test_what_is_supported_may_be_said(http: httpx.AsyncClient) -> None:
    start = int(NOON.timestamp())
    times = f"start_time={start}&end_time={start + 60}"
    plain = await http.get(f"/v1/organization/usage/completions?{times}")
    for brackets in ("", "[]"):
        said = f"{times}&bucket_width=1d&group_by{brackets}=model&limit=7"
        answer = await http.get(f"/v1/organization/usage/completions?{said}")
        assert (answer.status_code, answer.json()) == (200, plain.json())


async def test_who_named_no_model_has_failed_at_none(world: World) -> None:
    async with world.database.begin() as session:
        session.add(event(1, "org-ann", NOON, model="", status=404, prompt_tokens=0))
    transport = httpx.ASGITransport(app(world, world.ann))
    times = {"start_time": int(NOON.timestamp()), "end_time": int(NOON.timestamp()) + 60}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        page = (await client.get("/v1/organization/usage/completions", params=times)).json()
    (result,) = page["data"][0]["results"]
    assert result["model"] is None
    assert (result["num_model_requests"], result["num_failed_requests"]) == (0, 1)


async def test_today_needs_no_end(http: httpx.AsyncClient) -> None:
    start = int(datetime.now(UTC).timestamp()) - 5
    answer = await http.get("/v1/organization/usage/completions", params={"start_time": start})
    assert answer.status_code == 200
    assert len(answer.json()["data"]) in (1, 2)
