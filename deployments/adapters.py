"""Keeps the adapters in an engine equal to those the registry wants there."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio.to_thread
from redis.asyncio import Redis

from cluster.catalog.adapter_name import engine_name
from cluster.catalog.adapters import FOLDER, AdapterRegistry
from cluster.errors import LorikeetError, Unavailable
from cluster.store.artifacts import Artifacts
from cluster.store.copies import MARK_EVERY, mark, remove_unused
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL
from cluster.waiting import happens

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""After so many an adapter counts as failed. It is tried on for as long as it is wanted."""
BACKOFF = 0.5
"""Seconds before the second attempt; doubled for each further one, up to `LONGEST`."""
LONGEST = 60.0
POLL = 5.0
PATIENCE = 60.0
"""Seconds for which a starting replica waits for an artifact store that is away."""


class LoadFailed(Exception):
    """The engine refused an adapter; its text says why."""


class AdapterHost(Protocol):
    """An engine that adapters can be put into and taken out of while it runs."""

    async def load(self, name: str, folder: Path) -> None:
        """Raises LoadFailed."""

    async def unload(self, name: str) -> None: ...


@dataclass
class _Attempts:
    made: int
    again_at: float
    reason: str
    away: bool
    """Whether the last attempt did not reach the artifact store."""


class AdapterReconciler:
    """Loads what is missing, unloads what is wanted no more, tells what could not be loaded."""

    def __init__(
        self,
        base_model: str,
        host: AdapterHost,
        registry: AdapterRegistry,
        artifacts: Artifacts,
        cache: Path,
    ) -> None:
        self._base_model = base_model
        self._host = host
        self._registry = registry
        self._artifacts = artifacts
        self._cache = cache
        self._loaded: dict[str, str] = {}
        """The URI of each adapter in the engine, by the engine's name of it."""
        self._attempts: dict[str, _Attempts] = {}
        self._mark_at = time.monotonic() + MARK_EVERY

    @property
    def loaded(self) -> frozenset[str]:
        """The engine's names of the adapters it holds."""
        return frozenset(self._loaded)

    @property
    def failures(self) -> dict[str, str]:
        """Adapters whose first attempts have all failed, with the last reason."""
        return {n: a.reason for n, a in self._attempts.items() if a.made >= ATTEMPTS}

    async def replay(self) -> None:
        """Step until each adapter is loaded, or its first attempts have failed.

        Raises Unavailable if one could not be tried because the artifact store stayed away: a
        replica that lacks adapters must not take the place of one that holds them. So without the
        store no replica starts whose adapters the node has no copies of, not even a first one.
        """
        await self.step()
        until = time.monotonic() + PATIENCE
        while waiting := [a for a in self._attempts.values() if a.made < ATTEMPTS]:
            away = [a.reason for a in waiting if a.away]
            if away and time.monotonic() >= until:
                raise Unavailable(away[0])
            await asyncio.sleep(self.pause)
            await self.step()
        await self._remove_copies()

    async def step(self) -> bool:
        """One comparison of wish and truth. Returns whether anything changed."""
        if time.monotonic() >= self._mark_at:
            await anyio.to_thread.run_sync(mark, set(self._loaded.values()), self._cache)
            self._mark_at = time.monotonic() + MARK_EVERY
        wanted = {
            engine_name(row.name, row.digest): row.uri
            for row in await self._registry.wanted(self._base_model)
        }
        changed = False
        for name in self._loaded.keys() - wanted.keys():
            changed |= await self._unload(name)
        for name in self._attempts.keys() - wanted.keys():
            del self._attempts[name]
            changed = True
        for name, uri in wanted.items():
            if name not in self._loaded and self._due(name):
                changed |= await self._load(name, uri)
        return changed

    def _due(self, name: str) -> bool:
        attempts = self._attempts.get(name)
        return attempts is None or time.monotonic() >= attempts.again_at

    async def _load(self, name: str, uri: str) -> bool:
        try:
            folder = await anyio.to_thread.run_sync(self._artifacts.fetch_folder, uri, self._cache)
            await self._host.load(name, folder)
        except Unavailable as error:
            # No fault of the adapter's: it does not count as failed, and others are still tried.
            made = self._attempts[name].made if name in self._attempts else 0
            self._attempts[name] = _Attempts(made, time.monotonic() + POLL, str(error), True)
            log.warning("adapter %s waits: %s", name, error)
            return False
        except (LoadFailed, OSError) as error:
            made = self._attempts[name].made + 1 if name in self._attempts else 1
            wait = min(LONGEST, BACKOFF * 2 ** min(made - 1, 16))
            self._attempts[name] = _Attempts(made, time.monotonic() + wait, str(error), False)
            log.warning("adapter %s, attempt %d, again in %.1f s: %s", name, made, wait, error)
            return made >= ATTEMPTS
        self._attempts.pop(name, None)
        self._loaded[name] = uri
        log.info("adapter %s loaded", name)
        return True

    async def _unload(self, name: str) -> bool:
        try:
            await self._host.unload(name)
        except Exception:  # whatever an engine raises: the next step tries again
            log.warning("adapter %s not unloaded", name, exc_info=True)
            return False
        # Its copy stays: for a request in flight the engine may read it once more.
        del self._loaded[name]
        return True

    async def _remove_copies(self) -> None:
        try:
            wanted = {row.uri for row in await self._registry.wanted()}
            await anyio.to_thread.run_sync(remove_unused, FOLDER, wanted, self._cache)
        except (LorikeetError, OSError) as error:
            log.warning("unused copies of adapters stay: %s", error)

    @property
    def pause(self) -> float:
        """Seconds until the next step is due, if nothing happens before."""
        due = [a.again_at for a in self._attempts.values()]
        return min([POLL, *(max(0.0, at - time.monotonic()) for at in due)])


async def reconcile(reconciler: AdapterReconciler, redis: Redis, changed: asyncio.Event) -> None:
    """Run the reconciler for ever; `changed` is set whenever it did something."""
    changes = asyncio.Event()
    listener = asyncio.create_task(listen(redis, CATALOG_CHANNEL, changes))
    try:
        while True:
            changes.clear()
            try:
                if await reconciler.step():
                    changed.set()
                pause = reconciler.pause
            except LorikeetError as error:
                log.warning("adapters not compared with the registry: %s", error)
                pause = POLL  # attempts that were due still are: the next step would come at once
            await happens(changes, pause)
    finally:
        listener.cancel()
