"""`/v1/organization/usage`: what an organization's requests used, by day and model."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InvalidRequest
from cluster.tenancy.principal import Principal
from cluster.usage.money import dollars
from cluster.usage.totals import Total, totals
from deployments.router.services import Services, reader, services

router = APIRouter(prefix="/v1/organization/usage", tags=["usage"])

ENDPOINTS = {
    "completions": (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
    ),
    "embeddings": ("/v1/embeddings",),
    "moderations": ("/v1/moderations",),
    "rerankings": ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score"),
}
DAY = timedelta(days=1)
MAX_DAYS = 31
LATEST = 2**33
"""Of a Unix time: in the year 2242, and before databases and calendars have an end."""

Moment = Annotated[int, Field(ge=0, le=LATEST)]


class Asked(BaseModel):
    """The query. What is not here is refused: its answer would be about something else."""

    model_config = ConfigDict(extra="forbid")

    start_time: Moment
    end_time: Moment | None = None
    bucket_width: Literal["1d"] = "1d"
    group_by: list[Literal["model"]] = ["model"]
    group_by_of_sdk: list[Literal["model"]] = Field(["model"], alias="group_by[]")
    """The same, as OpenAI's SDK writes lists."""
    limit: int = Field(MAX_DAYS, ge=1, le=MAX_DAYS)
    """Of days. There are no further pages, so fewer than asked for are refused."""


@router.get("/completions")
async def completions(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    asked: Annotated[Asked, Query()],
) -> dict[str, Any]:
    """Chat and text completions by day (UTC) and model, the oldest day first."""
    return await _page("completions", who, at, asked)


@router.get("/embeddings")
async def embeddings(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    asked: Annotated[Asked, Query()],
) -> dict[str, Any]:
    """Embeddings by day (UTC) and model, the oldest day first."""
    return await _page("embeddings", who, at, asked)


@router.get("/moderations")
async def moderations(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    asked: Annotated[Asked, Query()],
) -> dict[str, Any]:
    """Moderations by day (UTC) and model, the oldest day first."""
    return await _page("moderations", who, at, asked)


@router.get("/rerankings")
async def rerankings(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    asked: Annotated[Asked, Query()],
) -> dict[str, Any]:
    """Rerankings and scores by day (UTC) and model, the oldest day first."""
    return await _page("rerankings", who, at, asked)


async def _page(kind: str, who: Principal, at: Services, asked: Asked) -> dict[str, Any]:
    """Whole days: from that of `start_time` to that of the second before `end_time`."""
    first = datetime.fromtimestamp(asked.start_time, UTC).date()
    end_time = asked.end_time
    until = datetime.now(UTC) if end_time is None else datetime.fromtimestamp(end_time, UTC)
    last = (until - timedelta(seconds=1)).date()
    days = (last - first).days + 1
    if not 0 < days <= MAX_DAYS:
        raise InvalidRequest(
            f"start_time to end_time are {days} days; allowed are 1 to {MAX_DAYS}.",
            param="start_time",
        )
    if days > asked.limit:
        raise InvalidRequest(
            f"limit is {asked.limit}, and start_time to end_time are {days} days: all days come in "
            "one page; ask for a shorter time.",
            param="limit",
        )
    found: dict[date, list[Total]] = defaultdict(list)
    since, end = _begin(first), _begin(last) + DAY
    for total in await totals(
        at.platform.database, who.organization_id, since, end, endpoints=ENDPOINTS[kind]
    ):
        found[total.day].append(total)
    buckets = [_bucket(kind, day, found[day]) for day in (first + n * DAY for n in range(days))]
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _bucket(kind: str, day: date, of_models: list[Total]) -> dict[str, Any]:
    begin = _begin(day)
    return {
        "object": "bucket",
        "start_time": int(begin.timestamp()),
        "end_time": int((begin + DAY).timestamp()),
        "results": [_result(kind, total) for total in of_models],
    }


def _result(kind: str, total: Total) -> dict[str, Any]:
    """OpenAI's fields and two of this product's own. `num_failed_requests` is of requests that are
    not among the others; they have no model where they named none that there is. `cost_usd` is at
    the prices that were valid."""
    return {
        "object": f"organization.usage.{kind}.result",
        "model": total.model or None,
        "num_model_requests": total.requests,
        "num_failed_requests": total.failed,
        "input_tokens": total.prompt_tokens,
        "input_cached_tokens": total.cached_tokens,
        "output_tokens": total.completion_tokens,
        "cost_usd": dollars(total.cost),
    }
