"""One replica without vLLM, Redis and SQL: an engine's double and what decides on its adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.replicas import Replica
from cluster.catalog.residents import Residents
from cluster.store.artifacts import Artifacts
from deployments.adapter_loader import AdapterLoader, LoadFailed
from deployments.adapters import AdapterReconciler


class Engine:
    """Counts what it holds; `gate` holds loads up while it is cleared."""

    def __init__(self) -> None:
        self.loaded: dict[str, Path] = {}
        self.refuse: dict[str, int] = {}
        self.tries = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, name: str, folder: Path) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.refuse.get(name, 0) > 0:
            self.refuse[name] -= 1
            raise LoadFailed("out of memory")
        assert folder.is_dir()
        assert name not in self.loaded
        self.loaded[name] = folder
        self.most = max(self.most, len(self.loaded))

    async def unload(self, name: str) -> None:
        await asyncio.sleep(0)
        del self.loaded[name]


class Wanted:
    def __init__(self) -> None:
        self.rows: list[SimpleNamespace] = []

    async def wanted(self, base_model: str | None = None) -> list[SimpleNamespace]:
        return self.rows


@dataclass
class Neighbours:
    """The directory, and what it says of other replicas."""

    replicas: list[Replica] = field(default_factory=list)

    async def read(self) -> dict[str, list[Replica]]:
        return {"budgie": self.replicas}


@dataclass
class Uses:
    told: dict[str, float] = field(default_factory=dict)

    async def tell(self, base_model: str, used: Mapping[str, float]) -> None:
        self.told |= used

    async def last(self, base_model: str, names: Sequence[str]) -> dict[str, float]:
        return {name: self.told[name] for name in names if name in self.told}


def row(name: str, uri: str, digest: str = "1", **more: Any) -> SimpleNamespace:
    given = {"pinned": False, "state": AdapterState.PUBLISHED, **more}
    return SimpleNamespace(name=name, digest=digest * 64, uri=uri, **given)


def known(name: str, digest: str = "1") -> str:
    return engine_name(name, digest * 64)


class OneReplica:
    """The reconciler and all around it; `places` adapters at most."""

    def __init__(
        self, artifacts: Artifacts, cache: Path, engine: Engine, wanted: Wanted,
        *, places: int = 100, wait: float = 5.0, name: str = "r1",
    ) -> None:  # fmt: skip
        self.record = Replica("budgie", name, "here", 1, "a", "/s", places=places)
        self.engine, self.wanted = engine, wanted
        self.neighbours, self.uses = Neighbours(), Uses()
        self.residents = Residents(places)
        self.loader = AdapterLoader(engine, artifacts, cache, self.residents)
        self.reconciler = AdapterReconciler(
            self.record, self.loader, self.residents, wanted,  # type: ignore[arg-type]
            self.neighbours, self.uses, cache, wait,  # type: ignore[arg-type]
        )  # fmt: skip
