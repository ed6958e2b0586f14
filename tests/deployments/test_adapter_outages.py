"""The reconciler while the artifact store or the database is away, and the copies it leaves."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.catalog.adapter_name import engine_name
from cluster.errors import Unavailable
from cluster.store.artifacts import Artifacts
from cluster.store.copies import UNUSED_AFTER
from deployments import adapter_loader, adapters
from deployments.adapter_loader import ATTEMPTS, LoadFailed
from deployments.adapters import AdapterReconciler, reconcile
from tests.deployments.replica import Engine, OneReplica, Wanted, row


class Store(Artifacts):
    away = 0
    """So many times it does not answer."""

    def fetch_folder(self, uri: str, cache: Path) -> Path:
        if self.away > 0:
            self.away -= 1
            raise Unavailable("The artifact store does not answer.")
        return super().fetch_folder(uri, cache)


class Parts:
    def __init__(self, folder: Path) -> None:
        self.store = Store(f"memory://{folder.name}")
        self.engine, self.wanted, self.cache = Engine(), Wanted(), folder / "cache"
        source = folder / "source"
        source.mkdir()
        (source / "weights").write_text("w")
        self.uri = self.store.put_folder("adapters", source).uri
        self.wanted.rows = [row("a", self.uri)]
        self.reconciler = self.replica(self.engine)

    def replica(self, engine: Engine) -> AdapterReconciler:
        return OneReplica(self.store, self.cache, engine, self.wanted).reconciler

    def age(self) -> None:
        then = time.time() - UNUSED_AFTER - 60
        os.utime(self.cache / self.uri, (then, then))

    @property
    def copied(self) -> bool:
        return (self.cache / self.uri / "weights").exists()


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(adapter_loader, "AWAY", 0.0)
    monkeypatch.setattr(adapter_loader, "BACKOFF", 0.0)
    return Parts(tmp_path)


async def test_an_outage_of_the_store_is_waited_out(parts: Parts) -> None:
    parts.store.away = 2 * ATTEMPTS
    for _ in range(2 * ATTEMPTS):
        assert not await parts.reconciler.step()
    assert parts.reconciler.failures == {}
    assert await parts.reconciler.step()
    assert parts.copied


async def test_an_adapter_leaves_its_copy_to_requests_in_flight(parts: Parts) -> None:
    await parts.reconciler.replay()
    parts.wanted.rows = []
    assert await parts.reconciler.step()
    assert parts.engine.loaded == {}
    assert parts.copied


async def test_a_start_removes_copies_that_nobody_has_used_for_long(parts: Parts) -> None:
    await parts.reconciler.replay()
    parts.wanted.rows = []
    await parts.replica(Engine()).replay()
    assert parts.copied, "another replica may use it"
    parts.age()
    await parts.replica(Engine()).replay()
    assert not parts.copied


async def test_a_replica_marks_what_it_holds(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "MARK_EVERY", 0.0)
    replica = parts.replica(parts.engine)
    await replica.replay()
    parts.age()
    parts.wanted.rows = []
    await replica.step()
    await parts.replica(Engine()).replay()
    assert parts.copied


async def test_copies_that_cannot_be_removed_do_not_hinder_a_start(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(adapters, "remove_unused", refuse)
    await parts.reconciler.replay()
    assert len(parts.reconciler.loaded) == 1


async def test_a_start_waits_for_the_store(parts: Parts) -> None:
    parts.store.away = 5
    await parts.reconciler.replay()
    assert len(parts.reconciler.loaded) == 1


@pytest.mark.parametrize("refused", [0, 1])
async def test_a_start_without_the_store_fails(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr(adapters, "PATIENCE", 0.05)
    load = parts.engine.load

    async def refuse_then_away(name: str, folder: Path) -> None:
        parts.store.away = 1 << 30
        await load(name, folder)

    monkeypatch.setattr(parts.engine, "load", refuse_then_away)
    parts.store.away = 0 if refused else 1 << 30
    parts.engine.refuse[engine_name("a", "1" * 64)] = refused
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="artifact store"):
            await parts.reconciler.replay()


async def test_an_engine_that_refuses_does_not_fail_a_start(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "PATIENCE", 0.0)

    async def refuse(name: str, folder: Path) -> None:
        raise LoadFailed("no")

    monkeypatch.setattr(parts.engine, "load", refuse)
    await parts.reconciler.replay()
    assert len(parts.reconciler.failures) == 1


async def test_without_the_database_steps_come_no_faster(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.store.away = 1 << 30
    await parts.reconciler.step()
    monkeypatch.setattr(adapters, "POLL", 1.0)
    steps = 0

    async def away(base_model: str | None = None) -> list[SimpleNamespace]:
        nonlocal steps
        steps += 1
        raise Unavailable("The database does not answer.")

    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(parts.wanted, "wanted", away)
    monkeypatch.setattr(adapters, "listen", silent)
    task = asyncio.create_task(reconcile(parts.reconciler, None, asyncio.Event()))  # type: ignore[arg-type]
    await asyncio.sleep(0.3)
    task.cancel()
    assert steps == 1


async def test_a_fault_in_one_step_does_not_end_the_steps(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(adapters, "POLL", 0.0)
    wanted = parts.wanted.wanted

    async def broken(base_model: str | None = None) -> list[SimpleNamespace]:
        monkeypatch.setattr(parts.wanted, "wanted", wanted)
        raise KeyError("a")

    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(parts.wanted, "wanted", broken)
    monkeypatch.setattr(adapters, "listen", silent)
    changed = asyncio.Event()
    task = asyncio.create_task(reconcile(parts.reconciler, None, changed))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await changed.wait()
    task.cancel()
    assert len(parts.reconciler.loaded) == 1
    (record,) = (one for one in caplog.records if one.exc_info)
    assert "KeyError" in (record.exc_text or str(record.exc_info))
