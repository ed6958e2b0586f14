"""The spool: several processes write to one folder and drain it, and no line goes."""

from __future__ import annotations

import fcntl
import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster.usage import spool as spools
from cluster.usage.spool import Spool


def drained(spool: Spool) -> list[str]:
    return [line for batch in spool.drain() for line in batch]


def test_the_spool_is_bounded_and_counts_what_it_drops(tmp_path, caplog) -> None:
    spool = Spool(tmp_path, limit=100)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            spool.append(["x" * 29])
    assert spool.dropped == 2
    assert "2 in all" in caplog.text
    assert drained(spool) == ["x" * 29] * 3
    assert not spool.any()


def test_a_spool_file_is_private(tmp_path) -> None:
    spool = Spool(tmp_path)
    spool.append(["secret"])
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    spool.close()


PROCESS = """
from pathlib import Path
from cluster.usage.spool import Spool

async def main(index, folder):
    spool = Spool(Path(folder) / "spool")
    with (Path(folder) / f"drained-{index}").open("w") as file:
        for number in range(1000):
            spool.append([f"{index}-{number}"])
            for batch in spool.drain():
                file.writelines(line + "\\n" for line in batch)
    assert spool.dropped == 0
"""


def test_processes_share_a_folder_and_lose_nothing(tmp_path, in_processes) -> None:
    with in_processes(3, PROCESS, str(tmp_path)) as routers:
        assert routers.wait() == 0
    found = set(drained(Spool(tmp_path / "spool")))
    for path in tmp_path.glob("drained-*"):
        found |= set(path.read_text().splitlines())
    assert found == {f"{index}-{number}" for index in range(3) for number in range(1000)}


def test_a_file_that_another_drain_took_before_its_writer_is_given_up(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def after_a_drain(*arguments: Any) -> None:
        monkeypatch.setattr(spools.fcntl, "flock", lock)
        assert drained(Spool(tmp_path)) == []
        lock(*arguments)

    monkeypatch.setattr(spools.fcntl, "flock", after_a_drain)
    spool = Spool(tmp_path)
    spool.append(["kept"])
    assert drained(spool) == ["kept"]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows over `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_what_was_not_written_and_no_more(tmp_path) -> None:
    spool = Spool(tmp_path)
    spool.append(["first"])
    with full_disk(1000):
        spool.append(["x" * 300] * 10)
        assert spool.dropped == 10
    spool.append(["next"])
    assert drained(spool) == ["first", "next"]


def test_a_full_disk_does_not_stop_a_drain(tmp_path) -> None:
    spool = Spool(tmp_path)
    spool.append(["first"])
    with full_disk(1000):
        spool.append(["x" * 300] * 10)
        assert drained(spool) == ["first"]
