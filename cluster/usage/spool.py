"""Lines kept on disk while Redis is away.

Each process appends to a file of its own, which it holds locked. A file that nobody holds was left
by a process that died; whoever drains next takes it along.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import SEEK_END, FileIO
from itertools import islice
from pathlib import Path

log = logging.getLogger(__name__)

BATCH = 500


class Spool:
    """Append-only files below `folder`, of at most `limit` bytes in all."""

    def __init__(self, folder: Path, *, limit: int = 64 * 2**20) -> None:
        self.folder = folder
        self.dropped = 0
        self._limit = limit
        self._file: FileIO | None = None

    def append(self, lines: Sequence[str]) -> None:
        """Keep the lines. What the disk or the limit has no room for is dropped and counted."""
        data = "".join(line + "\n" for line in lines).encode()
        try:
            if self._file is None:
                self._file = self._open()
            if self._size() + len(data) > self._limit:
                raise OSError(f"{self.folder} has reached {self._limit} bytes")
            _write(self._file, data)
        except OSError as error:
            self.dropped += len(lines)
            log.error("%d usage events are lost, %d in all: %s", len(lines), self.dropped, error)

    def any(self) -> bool:
        """Whether a file waits, of this process or of another."""
        return bool(self._files())

    def drain(self) -> Iterator[list[str]]:
        """Batches of lines of every free file; a file is removed once its last batch was taken and
        the next is asked for. A drain that is given up leaves the file, to be read again."""
        self.close()  # gives the lock away; below, the file is taken like any other
        for path in self._files():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A line without an end was torn by the death of its writer.
                whole = (line[:-1] for line in file if line.endswith(b"\n"))
                lines = (line.decode("utf-8", "replace") for line in whole)
                while batch := list(islice(lines, BATCH)):
                    yield batch
                path.unlink()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # a network file system may say only now that it is full
                log.error("usage events may be lost: %s", error)

    def _size(self) -> int:
        size = 0
        for path in self._files():
            with suppress(FileNotFoundError):  # another process has just drained it
                size += path.stat().st_size
        return size

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("usage-*.jsonl"))

    def _open(self) -> FileIO:
        # A new name each time: the old one may be in another process's hands, about to go.
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self.folder / f"usage-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            file = FileIO(os.open(path, flags, 0o600), "a")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink > 0:
                return file
            file.close()  # another process had it first, found it empty and removed it


def _write(file: FileIO, data: bytes) -> None:
    """Write everything or nothing: half a line would spoil the one that comes after it."""
    end, rest = file.seek(0, SEEK_END), memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(end)
        raise
