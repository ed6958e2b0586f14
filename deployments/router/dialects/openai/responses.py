"""`/v1/responses/{id}`: stored responses. `POST /v1/responses` is an inference endpoint."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InvalidRequest
from cluster.store.page import Order
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import Services, inferrer, rereader, services

router = APIRouter(prefix="/v1/responses", tags=["responses"])

Reading = Annotated[Principal, Depends(rereader)]
Changing = Annotated[Principal, Depends(inferrer)]
At = Annotated[Services, Depends(services)]


class Included(BaseModel):
    """What OpenAI's clients may add. All that was stored is shown anyway."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] = []
    include_of_sdk: list[str] = Field([], alias="include[]")
    """The same, as OpenAI's SDK writes lists."""


class Retrieval(Included):
    include_obfuscation: bool = False
    stream: bool = False
    starting_after: int | None = None


class Inputs(Included):
    after: str | None = None
    limit: int = 20
    order: Order = Order.DESCENDING


@router.get("/{response_id}")
async def retrieve_response(
    response_id: str, who: Reading, at: At, asked: Annotated[Retrieval, Query()]
) -> dict[str, Any]:
    """A response as it was answered."""
    if asked.stream or asked.starting_after is not None:
        raise InvalidRequest(
            "Only a response that is run in the background can be streamed again, and none is.",
            param="stream" if asked.stream else "starting_after",
        )
    return await at.responses.get(who.organization_id, response_id)


@router.delete("/{response_id}")
async def delete_response(response_id: str, who: Changing, at: At) -> dict[str, Any]:
    """Remove it now. What continued it can be read as before, but not be continued."""
    await at.responses.delete(who.organization_id, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, who: Changing, at: At) -> dict[str, Any]:
    """Always refused: to stop a response that runs, close its connection."""
    await at.responses.get(who.organization_id, response_id)
    raise InvalidRequest(
        f"Response {response_id!r} does not run in the background, so it can't be cancelled: to "
        "stop one that runs, close its connection.",
        param="response_id",
    )


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str, who: Reading, at: At, asked: Annotated[Inputs, Query()]
) -> dict[str, Any]:
    """All that the response was made from, with what it continues."""
    page = await at.responses.inputs(
        who.organization_id,
        response_id,
        after=asked.after,
        limit=asked.limit,
        order=asked.order,
    )
    return listing(page, lambda item: item)
