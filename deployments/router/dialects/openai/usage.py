"""`/v1/organization/usage`: what an organization's requests used, by day and model."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from cluster.errors import InvalidRequest
from cluster.tenancy.principal import Principal
from cluster.usage.totals import Total, totals
from deployments.router.services import Services, reader, services

router = APIRouter(prefix="/v1/organization/usage", tags=["usage"])

ENDPOINTS = {
    "completions": ("/v1/chat/completions", "/v1/completions"),
    "embeddings": ("/v1/embeddings",),
}
DAY = timedelta(days=1)
MAX_DAYS = 31
LATEST = 2**33
"""Of a Unix time: in the year 2242, and before databases and calendars have an end."""

Moment = Annotated[int, Query(ge=0, le=LATEST)]


@router.get("/completions")
async def completions(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    start_time: Moment,
    end_time: Moment | None = None,
) -> dict[str, Any]:
    """Chat and text completions by day (UTC) and model, the oldest day first."""
    return await _page("completions", who, at, start_time, end_time)


@router.get("/embeddings")
async def embeddings(
    who: Annotated[Principal, Depends(reader)],
    at: Annotated[Services, Depends(services)],
    start_time: Moment,
    end_time: Moment | None = None,
) -> dict[str, Any]:
    """Embeddings by day (UTC) and model, the oldest day first."""
    return await _page("embeddings", who, at, start_time, end_time)


async def _page(
    kind: str, who: Principal, at: Services, start_time: int, end_time: int | None
) -> dict[str, Any]:
    """Whole days: from that of `start_time` to that of the second before `end_time`."""
    first = datetime.fromtimestamp(start_time, UTC).date()
    until = datetime.now(UTC) if end_time is None else datetime.fromtimestamp(end_time, UTC)
    last = (until - timedelta(seconds=1)).date()
    days = (last - first).days + 1
    if not 0 < days <= MAX_DAYS:
        raise InvalidRequest(
            f"start_time to end_time are {days} days; allowed are 1 to {MAX_DAYS}.",
            param="start_time",
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
    """OpenAI's fields; `num_failed_requests` is this product's own."""
    return {
        "object": f"organization.usage.{kind}.result",
        "model": total.model,
        "num_model_requests": total.requests,
        "num_failed_requests": total.failed,
        "input_tokens": total.prompt_tokens,
        "input_cached_tokens": total.cached_tokens,
        "output_tokens": total.completion_tokens,
    }
