"""Large bytes on any fsspec file system, named by their sha256.

Bytes arrive under a temporary name and are renamed once they are whole, so a name that exists is
complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import secrets
import shutil
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import fsspec
from fsspec.core import url_to_fs

CHUNK = 1 << 20


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
        temporary = self.path(f"{folder}/incoming-{secrets.token_hex(8)}")
        await anyio.to_thread.run_sync(self.fs.makedirs, posixpath.dirname(temporary), True)
        try:
            with self.fs.open(temporary, "wb") as out:
                async for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    await anyio.to_thread.run_sync(out.write, chunk)
            name = digest.hexdigest()
            uri = f"{folder}/{name[:2]}/{name}"
            await anyio.to_thread.run_sync(self._move, temporary, self.path(uri))
            return Blob(uri, size, name)
        finally:
            if self.fs.exists(temporary):
                self.fs.rm(temporary)

    def put_folder(self, folder: str, source: Path) -> Blob:
        """Store a folder as `folder`/ab/<digest>/; its digest is that of its files' digests."""
        listing, size = {}, 0
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            listing[path.relative_to(source).as_posix()] = file_sha256(path)
            size += path.stat().st_size
        name = hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()
        uri = f"{folder}/{name[:2]}/{name}"
        if not self.fs.exists(self.path(uri)):
            temporary = self.path(f"{folder}/incoming-{secrets.token_hex(8)}")
            try:
                for relative in listing:
                    target = posixpath.join(temporary, relative)
                    self.fs.makedirs(posixpath.dirname(target), exist_ok=True)
                    self.fs.put_file(str(source / relative), target)
                self._move(temporary, self.path(uri))
            finally:
                if self.fs.exists(temporary):
                    self.fs.rm(temporary, recursive=True)
        return Blob(uri, size, name)

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
        if not target.exists():
            temporary = target.with_name(f"incoming-{secrets.token_hex(8)}")
            temporary.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.fs.get(self.path(uri) + "/", str(temporary), recursive=True)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def read(self, uri: str) -> Iterator[bytes]:
        """The bytes of `uri`, a chunk at a time. Raises FileNotFoundError."""
        with self.fs.open(self.path(uri), "rb") as stored:
            while chunk := stored.read(CHUNK):
                yield chunk

    def open(self, uri: str) -> fsspec.core.OpenFile:
        """A binary file object of `uri`. Raises FileNotFoundError."""
        return self.fs.open(self.path(uri), "rb")

    def delete(self, uri: str) -> None:
        """Remove `uri`; one that is not there is no error."""
        if self.fs.exists(self.path(uri)):
            self.fs.rm(self.path(uri), recursive=True)

    def _move(self, temporary: str, final: str) -> None:
        # The same digest is the same bytes: whoever came first may stay.
        if self._on_disk:
            os.makedirs(posixpath.dirname(final), exist_ok=True)
            try:
                os.rename(temporary, final)  # one step, also against another process's
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(temporary)
            return
        if self.fs.exists(final):
            self.fs.rm(temporary, recursive=True)
            return
        self.fs.makedirs(posixpath.dirname(final), exist_ok=True)
        self.fs.mv(temporary, final, recursive=True)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
