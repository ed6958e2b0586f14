"""The files of an organization."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

import anyio
import anyio.to_thread
from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable
from cluster.files.purpose import Purpose, uploadable
from cluster.files.screen import screened
from cluster.identifiers import new_id
from cluster.jobs.states import JOB_LIFECYCLE
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import File, Job
from cluster.store.sql import Database, take_turns
from cluster.tenancy.principal import Principal

FOLDER = "files"
MAX_LIST = 10_000
LINES = frozenset({Purpose.FINE_TUNE, Purpose.BATCH})
"""Purposes whose files are JSONL."""


class Files:
    """Stores, lists and removes files. Another organization's file is not found.

    Equal bytes are stored once, so a blob goes when the last row that names it goes.
    """

    def __init__(self, database: Database, artifacts: Artifacts, settings: Settings) -> None:
        self._database = database
        self._artifacts = artifacts
        self.max_bytes = settings.upload_max_bytes

    async def upload(
        self, principal: Principal, *, filename: str, purpose: str, chunks: AsyncIterable[bytes]
    ) -> File:
        """Store a stream. Raises InvalidRequest or TooLarge, and then nothing is kept."""
        wanted = uploadable(purpose)
        name = _plain(filename)
        bounded = self._bounded(chunks)
        blob = await self._artifacts.put(FOLDER, screened(bounded) if wanted in LINES else bounded)
        row = File(
            id=new_id("file-"),
            organization_id=principal.organization_id,
            project_id=principal.project_id,
            purpose=wanted.value,
            filename=name,
            bytes=blob.bytes,
            sha256=blob.sha256,
            uri=blob.uri,
        )
        try:
            await self._record(row)
        except BaseException:
            with anyio.CancelScope(shield=True):
                async with self._database.begin() as session:
                    await self._release(session, blob.sha256, blob.uri)
            raise
        return row

    async def _record(self, row: File) -> None:
        async with self._database.begin() as session:
            session.add(row)
            await session.flush()
            await take_turns(session, row.sha256)
            # A deletion of the same bytes may have come between the upload and this row.
            if not await anyio.to_thread.run_sync(self._artifacts.exists, row.uri):
                raise Unavailable("The same file was just being deleted: upload it again.")

    async def list(
        self,
        principal: Principal,
        *,
        after: str | None = None,
        limit: int = MAX_LIST,
        order: Order = Order.DESCENDING,
        purpose: str | None = None,
    ) -> Page[File]:
        query = select(File).where(File.organization_id == principal.organization_id)
        if purpose is not None:
            query = query.where(File.purpose == purpose)
        async with self._database.begin() as session:
            return await fetch_page(
                session,
                query,
                (File.created_at, File.id),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
                order=order,
            )

    async def get(self, principal: Principal, file_id: str) -> File:
        """Raises NotFound."""
        async with self._database.begin() as session:
            row = await session.scalar(
                select(File).where(
                    File.id == file_id, File.organization_id == principal.organization_id
                )
            )
        if row is None:
            raise _missing(file_id)
        return row

    def content(self, file: File) -> Iterator[bytes]:
        """The bytes, a chunk at a time; blocking. Raises NotFound before the first."""
        if not self._artifacts.exists(file.uri):
            raise NotFound(f"The content of {file.id} is gone.", param="file_id")
        return self._artifacts.read(file.uri)

    async def delete(self, principal: Principal, file_id: str) -> None:
        """Raises NotFound, or Conflict while a job that has not ended uses the file."""
        async with self._database.begin() as session:
            # Deleting first takes the write lock: no job can take the file up after the check.
            gone = (
                await session.execute(
                    delete(File)
                    .where(File.id == file_id, File.organization_id == principal.organization_id)
                    .returning(File.sha256, File.uri)
                )
            ).one_or_none()
            if gone is None:
                raise _missing(file_id)
            user = await session.scalar(
                select(Job.id).where(
                    or_(Job.training_file_id == file_id, Job.validation_file_id == file_id),
                    Job.state.not_in(JOB_LIFECYCLE.terminal),
                )
            )
            if user is not None:
                raise Conflict(
                    f"{file_id} is used by the job {user}, which has not ended.",
                    param="file_id",
                    code="file_in_use",
                )
            await self._release(session, gone.sha256, gone.uri)

    async def _release(self, session: AsyncSession, sha256: str, uri: str) -> None:
        """Remove bytes that no row names."""
        await take_turns(session, sha256)
        if await session.scalar(select(File.id).where(File.uri == uri).limit(1)) is None:
            await anyio.to_thread.run_sync(self._artifacts.delete, uri)

    async def _bounded(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self.max_bytes:
                raise TooLarge(
                    f"The file has more than {self.max_bytes} bytes, the most allowed.",
                    param="file",
                )
            yield chunk


def _plain(filename: str) -> str:
    """The last part of a path as a browser may send it. Raises InvalidRequest."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    try:
        name.encode()
    except UnicodeEncodeError:
        name = ""
    if not name or len(name) > 255 or not name.isprintable():
        raise InvalidRequest(
            f"The file's name is {name[:40]!r}; it must have 1 to 255 printable characters.",
            param="file",
        )
    return name


def _missing(file_id: str) -> NotFound:
    return NotFound(f"No such file: {file_id[:80]!r}.", param="file_id")
