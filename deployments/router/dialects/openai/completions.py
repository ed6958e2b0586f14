"""`/v1/chat/completions/{id}`: stored chat completions. To make one is an inference endpoint."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from cluster.errors import InvalidRequest
from cluster.store.page import Order
from cluster.store.schema import StoredCompletion
from cluster.stored.labels import labels
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.body import Body
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import Services, inferrer, rereader, services

router = APIRouter(prefix="/v1/chat/completions", tags=["chat completions"])

Reading = Annotated[Principal, Depends(rereader)]
Changing = Annotated[Principal, Depends(inferrer)]
At = Annotated[Services, Depends(services)]

_LABEL = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_QUERY = ("model", "after", "limit", "order")


class Change(Body):
    metadata: dict[str, Any] | None


class Messages(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: int = 20
    order: Order = Order.ASCENDING


@router.get("")
async def list_completions(
    request: Request,
    who: Reading,
    at: At,
    model: str | None = None,
    after: str | None = None,
    limit: int = 20,
    order: Order = Order.ASCENDING,
) -> dict[str, Any]:
    """Stored completions, the oldest first; `metadata[key]=value` leaves those with such a pair."""
    page = await at.completions.page(
        who.organization_id,
        model=model,
        labels=_pairs(request),
        after=after,
        limit=limit,
        order=order,
    )
    return listing(page, render)


@router.get("/{completion_id}")
async def retrieve_completion(completion_id: str, who: Reading, at: At) -> dict[str, Any]:
    return render(await at.completions.get(who.organization_id, completion_id))


@router.post("/{completion_id}")
async def update_completion(
    completion_id: str, body: Change, who: Changing, at: At
) -> dict[str, Any]:
    """Other metadata, instead of all that it had."""
    return render(
        await at.completions.relabel(who.organization_id, completion_id, labels(body.metadata))
    )


@router.delete("/{completion_id}")
async def delete_completion(completion_id: str, who: Changing, at: At) -> dict[str, Any]:
    await at.completions.delete(who.organization_id, completion_id)
    return {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}


@router.get("/{completion_id}/messages")
async def list_messages(
    completion_id: str, who: Reading, at: At, asked: Annotated[Messages, Query()]
) -> dict[str, Any]:
    """The messages that it answers."""
    page = await at.completions.messages(
        who.organization_id,
        completion_id,
        after=asked.after,
        limit=asked.limit,
        order=asked.order,
    )
    return listing(page, _message)


def _pairs(request: Request) -> dict[str, str]:
    """The pairs to look for. A query that is not known is refused: it would find too much."""
    pairs = {}
    for name, value in request.query_params.items():
        if (found := _LABEL.fullmatch(name)) is not None:
            pairs[found.group(1)] = value
        elif name not in _QUERY:
            raise InvalidRequest(
                f"Unrecognized query parameter: {name[:100]}", param=name, code="unknown_parameter"
            )
    return labels(pairs)


def render(row: StoredCompletion) -> dict[str, Any]:
    return {**row.answer, "metadata": row.labels}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return {**message, "content": None if parts else content, "content_parts": parts}
