"""The reconciler against an engine that loads, refuses and recovers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.catalog.adapter_name import engine_name
from cluster.store.artifacts import Artifacts
from deployments import adapter_loader, adapters
from tests.deployments.replica import Engine, OneReplica, Wanted, row


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(adapter_loader, "BACKOFF", 0.0)
    engine, wanted = Engine(), Wanted()
    artifacts = Artifacts(tmp_path.as_uri())
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_text("w")
    blob = artifacts.put_folder("adapters", source)
    wanted.rows = [row(n, blob.uri, d) for n, d in (("a", "1"), ("b", "2"))]
    replica = OneReplica(artifacts, tmp_path / "cache", engine, wanted)
    return engine, wanted, replica.reconciler


async def test_what_is_wanted_is_loaded_and_what_is_not_is_unloaded(parts) -> None:  # type: ignore[no-untyped-def]
    engine, wanted, reconciler = parts
    assert await reconciler.step()
    assert (
        reconciler.loaded
        == set(engine.loaded)
        == {engine_name("a", "1" * 64), engine_name("b", "2" * 64)}
    )
    assert not await reconciler.step()
    wanted.rows.pop()
    assert await reconciler.step()
    assert set(engine.loaded) == {engine_name("a", "1" * 64)}


async def test_an_adapter_that_the_engine_keeps_is_unloaded_later(parts, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    engine, wanted, reconciler = parts
    await reconciler.step()
    kept, wanted.rows = engine_name("a", "1" * 64), []

    async def refuse(name: str) -> None:
        if name == kept:
            raise RuntimeError("the engine is busy")
        del engine.loaded[name]

    with monkeypatch.context() as refusing:
        refusing.setattr(engine, "unload", refuse)
        assert await reconciler.step(), "the other one is unloaded"
        assert not await reconciler.step()
    assert reconciler.loaded == set(engine.loaded) == {kept}
    assert await reconciler.step()
    assert reconciler.loaded == set(engine.loaded) == set()


async def test_after_three_attempts_a_load_has_failed_with_the_reason(parts) -> None:  # type: ignore[no-untyped-def]
    engine, wanted, reconciler = parts
    name = engine_name("a", "1" * 64)
    engine.refuse[name] = 99
    for attempt in range(3):
        assert reconciler.failures == {}, attempt
        await reconciler.step()
    assert reconciler.failures == {name: "out of memory"}
    wanted.rows.pop(0)
    assert await reconciler.step()
    assert reconciler.failures == {}, "a name that is wanted no more is forgotten"


async def test_what_has_failed_is_tried_on_ever_less_often(parts, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    engine, _, reconciler = parts
    clock = 0.0
    monkeypatch.setattr(adapter_loader, "BACKOFF", 0.5)
    for module in (adapters, adapter_loader):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock, time=float))
    name = engine_name("a", "1" * 64)
    engine.refuse[name] = 12
    waits = []
    while name not in reconciler.loaded:
        await reconciler.step()
        assert reconciler.pause <= adapters.POLL
        attempts = reconciler._loader._attempts
        if name in attempts:
            waits.append(attempts[name].again_at - clock)
            clock = attempts[name].again_at
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert reconciler.failures == {}, "what could be loaded has failed no more"


async def test_a_replay_ends_when_all_is_loaded_or_has_failed(parts) -> None:  # type: ignore[no-untyped-def]
    engine, _, reconciler = parts
    bad, late = engine_name("a", "1" * 64), engine_name("b", "2" * 64)
    engine.refuse.update({bad: 99, late: 2})
    await reconciler.replay()
    assert reconciler.loaded == {late}
    assert reconciler.failures.keys() == {bad}


async def test_a_passing_fault_is_retried(parts) -> None:  # type: ignore[no-untyped-def]
    engine, _, reconciler = parts
    name = engine_name("a", "1" * 64)
    engine.refuse[name] = 2
    for _ in range(3):
        await reconciler.step()
    assert name in reconciler.loaded
    assert reconciler.failures == {}


async def test_a_folder_that_is_gone_is_a_failure_with_a_reason(parts) -> None:  # type: ignore[no-untyped-def]
    _, wanted, reconciler = parts
    wanted.rows = [row("a", "adapters/no/thing")]
    for _ in range(3):
        await reconciler.step()
    assert "adapters/no/thing" in reconciler.failures[engine_name("a", "1" * 64)]


async def test_equal_names_whose_digests_begin_alike_are_two_adapters(parts) -> None:  # type: ignore[no-untyped-def]
    engine, wanted, reconciler = parts
    uri, alike = wanted.rows[0].uri, "1" * 12
    wanted.rows = [
        SimpleNamespace(**{**vars(row("bot", uri)), "digest": alike + rest * 52})
        for rest in ("2", "3")
    ]
    await reconciler.step()
    assert len(engine.loaded) == len(reconciler.loaded) == 2
