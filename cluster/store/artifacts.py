"""Large bytes on any fsspec file system, named by their sha256.

Bytes arrive under a temporary name and are renamed once they are whole, so a name that exists is
complete. A file system that knows no renaming gets each file of a folder in one step instead, and a
folder counts once all are there.

What goes wrong with the store is Unavailable, whichever library reaches it; only what is missing is
FileNotFoundError.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import posixpath
import secrets
import shutil
from collections.abc import AsyncIterable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import fsspec
from fsspec.core import url_to_fs

from cluster.errors import LorikeetError, Unavailable

log = logging.getLogger(__name__)

CHUNK = 1 << 20
INCOMING, OUTGOING = "incoming-", "outgoing-"
"""What the names begin with under which bytes arrive and leave; a crash leaves such names behind.
"""


@dataclass(frozen=True)
class Blob:
    """Stored bytes: where, how many, and their sha256 in hex."""

    uri: str
    bytes: int
    sha256: str


class Artifacts:
    """One folder of an fsspec file system.

    URIs that it returns are relative to that folder, so that a store can be moved.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs: fsspec.AbstractFileSystem
        self.fs, root = url_to_fs(url)
        self.root: str = root.rstrip("/")
        protocols = self.fs.protocol
        self._on_disk = "file" in ((protocols,) if isinstance(protocols, str) else protocols)

    def path(self, uri: str) -> str:
        """The name of `uri` on the file system."""
        parts = uri.split("/")
        assert all(part not in ("", ".", "..") for part in parts), f"not a URI of this store: {uri}"
        return posixpath.join(self.root, *parts)

    def local(self, uri: str) -> Path | None:
        """The path of `uri` where the store is a local folder, else None."""
        return Path(self.path(uri)) if self._on_disk else None

    async def put(self, folder: str, chunks: AsyncIterable[bytes]) -> Blob:
        """Store a stream as `folder`/ab/<sha256>. What fails half-way leaves nothing."""
        digest, size = hashlib.sha256(), 0
        temporary = self._incoming(folder)
        out = await anyio.to_thread.run_sync(self._create, temporary)
        try:
            try:
                async for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    await anyio.to_thread.run_sync(_call, out.write, chunk)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_call, out.close)
            blob = _blob(folder, digest.hexdigest(), size)
            await anyio.to_thread.run_sync(self._move, temporary, self.path(blob.uri))
            return blob
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.discard, temporary)

    def put_folder(self, folder: str, source: Path) -> Blob:
        """Store a folder as `folder`/ab/<digest>/; its digest is that of its files' digests."""
        listing, size = {}, 0
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            listing[path.relative_to(source).as_posix()] = file_sha256(path)
            size += path.stat().st_size
        name = hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()
        blob = _blob(folder, name, size)
        if self.holds(blob):
            return blob
        target = self._incoming(folder) if self._on_disk else self.path(blob.uri)
        try:
            with reaching():
                for relative in listing:
                    file = posixpath.join(target, relative)
                    self.fs.makedirs(posixpath.dirname(file), exist_ok=True)
                    self.fs.put_file(str(source / relative), file)
                if self._on_disk:
                    self._move(target, self.path(blob.uri))
        finally:
            if self._on_disk:
                self.discard(target)
        return blob

    def holds(self, blob: Blob) -> bool:
        """Whether all bytes of `blob` are there."""
        path = self.path(blob.uri)
        with reaching():
            self.fs.invalidate_cache()
            try:
                return bool(self.fs.exists(path)) and int(self.fs.du(path)) == blob.bytes
            except FileNotFoundError:  # it went while it was counted
                return False

    def exists(self, uri: str) -> bool:
        with reaching():
            return bool(self.fs.exists(self.path(uri)))

    def fetch_folder(self, uri: str, cache: Path) -> Path:
        """A local folder with the content of `uri`: the store's own, or a copy in `cache`.

        Raises FileNotFoundError.
        """
        here = self.local(uri)
        if here is not None:
            if not here.is_dir():
                raise FileNotFoundError(f"{uri} is not in the artifact store")
            return here
        target = cache / uri
        try:
            os.utime(target)  # a mark that it is in use, see `copies`
        except FileNotFoundError:
            temporary = target.with_name(f"{INCOMING}{secrets.token_hex(8)}")
            temporary.parent.mkdir(parents=True, exist_ok=True)
            try:
                with reaching():
                    self.fs.get(self.path(uri) + "/", str(temporary), recursive=True)
                _settle(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def read(self, uri: str) -> Iterator[bytes]:
        """The bytes of `uri`, a chunk at a time. Raises FileNotFoundError."""
        with self.open(uri) as stored:
            while True:
                with reaching():
                    chunk = stored.read(CHUNK)
                if not chunk:
                    return
                yield chunk

    def open(self, uri: str) -> fsspec.core.OpenFile:
        """A binary file object of `uri`. Raises FileNotFoundError."""
        with reaching():
            return self.fs.open(self.path(uri), "rb")

    def delete(self, uri: str) -> None:
        """Remove `uri`; one that is not there is no error.

        On a disk its name goes in one step, so that a crash leaves no half under it.
        """
        path = self.path(uri)
        with reaching():
            if not self._on_disk:
                if self.fs.exists(path):
                    self.fs.rm(path, recursive=True)
                return
            leaving = self.path(f"{uri.split('/')[0]}/{OUTGOING}{secrets.token_hex(8)}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, leaving)
                self.discard(leaving)

    def discard(self, path: str) -> None:
        """Remove what is at a name of the file system, whole or not."""
        with reaching(), contextlib.suppress(FileNotFoundError):
            if self.fs.exists(path):
                self.fs.rm(path, recursive=True)

    def _incoming(self, folder: str) -> str:
        return self.path(f"{folder}/{INCOMING}{secrets.token_hex(8)}")

    def _create(self, path: str) -> Any:
        with reaching():
            self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
            return self.fs.open(path, "wb")

    def _move(self, temporary: str, final: str) -> None:
        with reaching():
            if not self._on_disk:
                if not self.fs.exists(final):
                    self.fs.mv(temporary, final)
                return
            os.makedirs(posixpath.dirname(final), exist_ok=True)
            _settle(Path(temporary), Path(final))


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Around each use of the file system: its library's errors are named here, and only here.

    An object store's client raises its own classes, which nothing outside has to know.
    """
    try:
        yield
    except (FileNotFoundError, LorikeetError):
        raise
    except Exception as error:
        log.warning("the artifact store failed: %r", error)
        raise Unavailable("The artifact store does not answer.") from error


def _call(work: Callable[..., object], *arguments: object) -> None:
    with reaching():
        work(*arguments)


def _settle(temporary: Path, final: Path) -> None:
    """Rename in one step. The same digest is the same bytes: whoever came first may stay."""
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _blob(folder: str, digest: str, size: int) -> Blob:
    return Blob(f"{folder}/{digest[:2]}/{digest}", size, digest)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
