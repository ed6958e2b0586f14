"""`/v1/files`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cluster.errors import InvalidRequest, TooLarge
from cluster.store.artifacts import CHUNK
from cluster.store.page import Order
from cluster.store.schema import File
from cluster.tenancy.principal import Principal, Scope
from deployments.router.services import files, principal

router = APIRouter(prefix="/v1/files", tags=["files"])

ENVELOPE = 64 * 1024
"""Bytes of an upload that are not the file: boundaries, headers, the other fields."""
FIELDS = ("file", "purpose")


def reader(request: Request) -> Principal:
    """The caller, who may read training data: that takes READ or TRAIN."""
    caller = principal(request)
    caller.require(Scope.READ if Scope.READ in caller.scopes else Scope.TRAIN)
    return caller


@router.post("")
async def upload(request: Request) -> dict[str, Any]:
    caller = principal(request)
    caller.require(Scope.TRAIN)
    store = files(request)
    form = await _form(request, store.max_bytes)
    try:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise InvalidRequest("file is missing: send it as a multipart file.", param="file")
        purpose = form.get("purpose")
        if not isinstance(purpose, str):
            raise InvalidRequest("purpose is missing.", param="purpose")
        row = await store.upload(
            caller, filename=sent.filename or "", purpose=purpose, chunks=_chunks(sent)
        )
    finally:
        await form.close()
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
    data = [render(row) for row in page.items]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }


@router.get("/{file_id}")
async def retrieve(request: Request, file_id: str) -> dict[str, Any]:
    return render(await files(request).get(reader(request), file_id))


@router.get("/{file_id}/content")
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
    caller = principal(request)
    caller.require(Scope.TRAIN)
    await files(request).delete(caller, file_id)
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


async def _form(request: Request, max_bytes: int) -> FormData:
    """The multipart form; a large file waits in a temporary one. Raises TooLarge while reading."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest(
            "The body must be multipart/form-data with the fields file and purpose."
        )
    bound = max_bytes + ENVELOPE
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > bound:
        raise _too_large(max_bytes)

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > bound:
                raise _too_large(max_bytes)
            yield chunk

    parser = MultiPartParser(
        request.headers, bounded(), max_files=1, max_fields=8, max_part_size=ENVELOPE
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "the boundary is missing or wrong")
        raise InvalidRequest(f"The multipart body can't be read: {message}") from None
    for name in form:
        if name not in FIELDS:
            with suppress(Exception):
                await form.close()
            raise InvalidRequest(
                f"{name[:40]!r} is not known; allowed are {', '.join(FIELDS)}.", param=name[:40]
            )
    return form


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The file has more than {max_bytes} bytes, the most allowed.", param="file")


async def _chunks(sent: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await sent.read(CHUNK):
        yield chunk
