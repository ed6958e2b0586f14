"""`/v1/files`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from cluster.store.page import Order
from cluster.store.schema import File
from deployments.router.dialects.openai.form import chunks, multipart, text, uploads
from deployments.router.dialects.openai.listing import listing
from deployments.router.services import files, reader, trainer

router = APIRouter(prefix="/v1/files", tags=["files"])

FIELDS = ("file", "purpose")
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": list(FIELDS),
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string"},
                },
            }
        }
    },
}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"format": "binary"}}}}
}


@router.post("", openapi_extra={"requestBody": BODY})
async def upload(request: Request) -> dict[str, Any]:
    caller = trainer(request)
    store = files(request)
    async with multipart(
        request, FIELDS, max_bytes=store.max_bytes, max_files=1, param="file"
    ) as form:
        (sent,) = uploads(form, "file")
        row = await store.upload(
            caller,
            filename=sent.filename or "",
            purpose=text(form, "purpose"),
            chunks=chunks(sent),
        )
    return render(row)


@router.get("")
async def list_files(
    request: Request,
    after: str | None = None,
    limit: int = 10_000,
    order: Order = Order.DESCENDING,
    purpose: str | None = None,
) -> dict[str, Any]:
    page = await files(request).list(
        reader(request), after=after, limit=limit, order=order, purpose=purpose
    )
    return listing(page, render)


@router.get("/{file_id}")
async def retrieve(request: Request, file_id: str) -> dict[str, Any]:
    return render(await files(request).get(reader(request), file_id))


@router.get("/{file_id}/content", response_class=StreamingResponse, responses=BYTES)
async def content(request: Request, file_id: str) -> StreamingResponse:
    store = files(request)
    row = await store.get(reader(request), file_id)
    stored: Iterator[bytes] = await anyio.to_thread.run_sync(store.content, row)
    return StreamingResponse(
        stored,
        media_type="application/octet-stream",
        headers={
            "content-length": str(row.bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(row.filename)}",
            # A tenant's bytes are never rendered by a browser as a page of this site.
            "x-content-type-options": "nosniff",
        },
    )


@router.delete("/{file_id}")
async def delete(request: Request, file_id: str) -> dict[str, Any]:
    await files(request).delete(trainer(request), file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def render(row: File) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created_at.timestamp()),
        "expires_at": None,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
    }
