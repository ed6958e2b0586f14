"""Moves adapters from `publishing` to `published` or `failed` by what the replicas say.

An adapter is published once each replica holds it that has to (`cluster.catalog.placement`). Where
replicas have no place for all, it may go from them after that, and comes back when it is asked for.
What was published once stays so when a replica can't load it: the row says why until it could.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.placement import owing
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.errors import Conflict
from cluster.store.schema import Adapter

log = logging.getLogger(__name__)


class Publisher:
    """The one owner of an adapter once it is stored. Each step reads all and may be repeated."""

    def __init__(
        self, registry: AdapterRegistry, directory: ReplicaDirectory, *, patience: float = 600.0
    ) -> None:
        """`patience`: seconds, while this process runs, that replicas have to acknowledge."""
        self._registry = registry
        self._directory = directory
        self._patience = patience
        self._since: dict[str, float] = {}

    async def step(self) -> bool:
        """Count acknowledgements. Returns whether any adapter changed its state."""
        wanted = await self._registry.wanted()
        if not wanted:
            return False
        names: dict[str, set[str]] = defaultdict(set)
        for adapter in wanted:
            names[adapter.base_model].add(engine_name(adapter.name, adapter.digest))
        replicas = await self._directory.read()
        moved = False
        for adapter in wanted:
            base = adapter.base_model
            moved |= await self._settle(adapter, replicas.get(base, ()), len(names[base]))
        return moved

    async def _settle(self, adapter: Adapter, replicas: Sequence[Replica], adapters: int) -> bool:
        name = engine_name(adapter.name, adapter.digest)
        state, error = AdapterState(adapter.state), None
        due = owing(name, adapter.pinned, adapters, replicas)
        holding = sum(name in replica.adapters for replica in due)
        counts = (holding, len(due))
        if state is AdapterState.PUBLISHED and len(due) < len(replicas):
            counts = (adapter.acknowledged, adapter.replicas)  # it comes and goes
        failures = [(r.id, r.failures[name]) for r in replicas if name in r.failures]
        if failures:
            error = f"replica {failures[0][0]} could not load it: {failures[0][1]}"
        if state is AdapterState.PUBLISHING and failures:
            state = AdapterState.FAILED
        elif state is AdapterState.PUBLISHING and due and holding == len(due):
            state = AdapterState.PUBLISHED
        elif state is AdapterState.PUBLISHING and self._waited(adapter.id) > self._patience:
            state = AdapterState.FAILED
            error = (
                f"{holding} of {len(due)} replicas of {adapter.base_model!r} have loaded it "
                f"in {self._patience:.0f} s."
            )
        if state is not AdapterState.PUBLISHING:
            self._since.pop(adapter.id, None)
        known = (adapter.state, adapter.acknowledged, adapter.replicas, adapter.error)
        if known == (state, *counts, error):
            return False
        try:
            await self._registry.move(
                adapter.id, state, error=error, acknowledged=counts[0], replicas=counts[1]
            )
        except Conflict as conflict:  # retired since it was read
            log.info("%s: %s", adapter.id, conflict)
            return False
        return state != adapter.state

    def _waited(self, adapter_id: str) -> float:
        return time.monotonic() - self._since.setdefault(adapter_id, time.monotonic())
