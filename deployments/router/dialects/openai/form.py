"""Multipart forms with files, bounded while they are read; a large file waits on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cluster.errors import InvalidRequest, TooLarge
from cluster.store.artifacts import CHUNK

ENVELOPE = 64 * 1024
"""Bytes of an upload that are not its files: boundaries, headers, the other fields."""
MAX_FIELDS = 8


@asynccontextmanager
async def multipart(
    request: Request, fields: Collection[str], *, max_bytes: int, max_files: int, param: str
) -> AsyncIterator[FormData]:
    """The form that the body is; its files go with the block. `param` is the files' field.

    Raises InvalidRequest, also for a field that is not of `fields`, and TooLarge while it reads.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest(
            f"The body must be multipart/form-data with the fields {' and '.join(fields)}."
        )
    bound = max_bytes + ENVELOPE
    too_large = TooLarge(
        f"The upload has more than {max_bytes} bytes, the most allowed.", param=param
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > bound:
        raise too_large

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > bound:
                raise too_large
            yield chunk

    parser = MultiPartParser(
        request.headers,
        bounded(),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=ENVELOPE,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "the boundary is missing or wrong")
        raise InvalidRequest(f"The multipart body can't be read: {message}") from None
    try:
        for name in form:
            if name not in fields:
                raise InvalidRequest(
                    f"{name[:40]!r} is not known; allowed are {', '.join(fields)}.",
                    param=name[:40],
                )
        yield form
    finally:
        await form.close()


def text(form: FormData, name: str) -> str:
    """The field's text. Raises InvalidRequest where it is missing or a file."""
    value = form.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is missing.", param=name)
    return value


def uploads(form: FormData, name: str) -> list[UploadFile]:
    """The field's files. Raises InvalidRequest where there is none."""
    found = form.getlist(name)
    files = [sent for sent in found if isinstance(sent, UploadFile)]
    if not files or len(files) < len(found):
        raise InvalidRequest(f"{name} is missing: send it as a multipart file.", param=name)
    return files


async def chunks(sent: UploadFile) -> AsyncIterator[bytes]:
    """A file's bytes, a chunk at a time."""
    while chunk := await sent.read(CHUNK):
        yield chunk
