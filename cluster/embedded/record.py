"""What a running product says of itself: `home`/run/product.json, and the lock beside it.

The process that holds the lock is the product. The record outlives a crash, so that the next `up`
knows whose leftovers to sweep.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from cluster.embedded.folders import private_folder
from cluster.errors import Conflict


class ProductState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class Part(BaseModel):
    """One part of the start. `seconds` counts from its own beginning to its end."""

    part: str
    started: float
    seconds: float | None = None
    detail: str = ""

    @property
    def elapsed(self) -> float:
        return time.time() - self.started if self.seconds is None else self.seconds


class ProductRecord(BaseModel):
    pid: int
    instance: str
    url: str
    state: ProductState = ProductState.STARTING
    dashboard: str | None = None
    """Ray's dashboard and job server. Needs the token in `ray_token_file`."""
    ray_address: str | None = None
    ray_token_file: str | None = None
    logs: str | None = None
    parts: list[Part] = []
    error: str | None = None

    @classmethod
    def load(cls, home: Path) -> Self | None:
        try:
            return cls.model_validate_json((run_folder(home) / "product.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None

    def save(self, home: Path) -> None:
        write_whole(run_folder(home) / "product.json", self.model_dump_json(indent=1))

    @staticmethod
    def remove(home: Path) -> None:
        (run_folder(home) / "product.json").unlink(missing_ok=True)


def run_folder(home: Path) -> Path:
    return home / "run"


def write_whole(path: Path, text: str) -> None:
    """Write so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(text)
    temporary.replace(path)


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """Hold the home. Raises Conflict naming the product that has it."""
    descriptor = _open_lock(home)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record = ProductRecord.load(home)
            where = f" at {record.url} (pid {record.pid})" if record else ""
            raise Conflict(f"Lorikeet already runs on {home}{where}.") from None
        yield
    finally:
        os.close(descriptor)


def is_running(home: Path) -> bool:
    """Whether a process holds the home."""
    if not (run_folder(home) / "up.lock").exists():
        return False
    descriptor = _open_lock(home)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_lock(home: Path) -> int:
    folder = private_folder(run_folder(home))
    return os.open(folder / "up.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
