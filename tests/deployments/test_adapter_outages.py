"""The reconciler while the artifact store is away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.errors import Unavailable
from cluster.store.artifacts import Artifacts
from deployments import adapters
from deployments.adapters import ATTEMPTS, AdapterReconciler
from tests.deployments.test_adapters import Engine, Wanted


class Store(Artifacts):
    away = False

    def fetch_folder(self, uri: str, cache: Path) -> Path:
        if self.away:
            raise Unavailable("The artifact store does not answer.")
        return super().fetch_folder(uri, cache)


async def test_an_outage_is_waited_out_and_a_copy_goes_with_its_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "POLL", 0.0)
    store, engine, wanted = Store(f"memory://{tmp_path.name}"), Engine(), Wanted()
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "weights").write_text("w")
    blob = store.put_folder("adapters", source)
    wanted.rows = [SimpleNamespace(name="a", digest="1" * 12, uri=blob.uri)]
    reconciler = AdapterReconciler("budgie", engine, wanted, store, cache)  # type: ignore[arg-type]
    store.away = True
    for _ in range(2 * ATTEMPTS):
        assert not await reconciler.step()
    assert reconciler.failures == {}
    store.away = False
    assert await reconciler.step()
    assert (cache / blob.uri / "weights").exists()
    wanted.rows = []
    assert await reconciler.step()
    assert not (cache / blob.uri).exists()
