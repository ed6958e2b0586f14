"""Keeps the adapters in an engine equal to those the registry wants there.

While all adapters of the base model have a place each replica holds them all. Where they have not,
it holds the pinned ones, those whose publication waits for it, and of the others those that it was
asked for last: what it lacks it loads when it is asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.catalog.adapter_name import engine_name, public_name
from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.adapters import FOLDER, AdapterRegistry
from cluster.catalog.lifecycle import AdapterState
from cluster.catalog.placement import fits, home
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.catalog.residents import Residents
from cluster.errors import LorikeetError, ModelNotFound, Unavailable
from cluster.store.copies import MARK_EVERY, mark, remove_unused
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL
from cluster.waiting import happens
from deployments.adapter_loader import AdapterLoader

log = logging.getLogger(__name__)

POLL = 5.0
PATIENCE = 60.0
"""Seconds for which a starting replica waits for an artifact store that is away."""
ROOM = 5.0
"""Seconds that one step waits for a place while all are in use."""


@dataclass
class _Wanted:
    """One adapter of the engine's, which several organizations may have."""

    uri: str
    pinned: bool = False
    publishing: bool = False


class AdapterReconciler:
    """Loads what is missing, unloads what is wanted no more, and lends what is asked for."""

    def __init__(
        self,
        replica: Replica,
        loader: AdapterLoader,
        residents: Residents,
        registry: AdapterRegistry,
        directory: ReplicaDirectory,
        uses: AdapterUses,
        cache: Path,
        wait: float,
    ) -> None:
        """`replica`: this one, as far as its id, model and places. `wait`: seconds that a request
        waits for an adapter that is not there."""
        self._replica = replica
        self._base_model = replica.model
        self._loader = loader
        self._residents = residents
        self._registry = registry
        self._directory = directory
        self._uses = uses
        self._cache = cache
        self._request_wait = wait
        self._wanted: dict[str, _Wanted] = {}
        self._mark_at = time.monotonic() + MARK_EVERY
        self._told_at = 0.0
        self.wake = asyncio.Event()
        """Set where the next step is due at once."""

    @property
    def loaded(self) -> frozenset[str]:
        """The engine's names of the adapters that take requests."""
        return self._residents.serving

    @property
    def failures(self) -> dict[str, str]:
        """Adapters whose first attempts have all failed, with the last reason."""
        return self._loader.failures

    async def enter(self, name: str) -> None:
        """Use an adapter until `leave`; one that is not there is loaded.

        Raises ModelNotFound where it is not wanted, Unavailable where it can't be had in time.
        """
        if self._residents.enter(name):
            return
        wanted = self._wanted.get(name)
        if wanted is None:  # published a moment ago
            await self._read()
            wanted = self._wanted.get(name)
            if wanted is None:
                raise ModelNotFound(public_name(name))
        try:
            async with asyncio.timeout(self._request_wait):
                await self._loader.enter(name, wanted.uri)
        except TimeoutError:
            raise Unavailable(
                f"The adapter {public_name(name)!r} was not loaded within "
                f"{self._request_wait:g} s: all {self._residents.places} places for adapters are "
                "in use.",
                retry_after=1.0,
            ) from None

    def leave(self, name: str) -> None:
        self._loader.leave(name)
        if name not in self._wanted and not self._residents.busy(name):
            self.wake.set()

    async def replay(self) -> None:
        """Step until each adapter is loaded, or its first attempts have failed.

        Raises Unavailable if one could not be tried because the artifact store stayed away: a
        replica that lacks adapters must not take the place of one that holds them. So without the
        store no replica starts whose adapters the node has no copies of, not even a first one.
        """
        await self.step()
        for name in await self._warm():
            await self._loader.bring(name, self._wanted[name].uri)
        until = time.monotonic() + PATIENCE
        while waiting := self._loader.untried(self._residents.kept):
            away = [a.reason for a in waiting if a.away]
            if away and time.monotonic() >= until:
                raise Unavailable(away[0])
            await asyncio.sleep(self.pause)
            await self.step()
        await self._remove_copies()

    async def step(self) -> bool:
        """One comparison of wish and truth. Returns whether anything changed."""
        if time.monotonic() >= self._mark_at:
            held = {self._residents.uri(name) for name in self._residents.names}
            await anyio.to_thread.run_sync(mark, held, self._cache)
            self._mark_at = time.monotonic() + MARK_EVERY
        await self._read()
        changed = False
        for name in self._residents.names - self._wanted.keys():
            # While another is taken out, it may make room for a request.
            if name in self._residents and not self._residents.busy(name):
                changed |= await self._loader.remove(name)
        changed |= self._loader.forget(self._wanted)
        owed = await self._owed()
        self._residents.kept = frozenset(owed)
        self._loader.rethink()
        for name in owed:
            wanted = self._wanted.get(name)
            if wanted is None:  # a request read the registry anew while another was loaded
                continue
            if name not in self._residents and self._loader.due(name):
                try:
                    async with asyncio.timeout(ROOM):
                        changed |= await self._loader.bring(name, wanted.uri)
                except TimeoutError:
                    log.info("adapter %s waits for a place: all are in use", name)
        await self._tell_uses()
        return changed

    async def _read(self) -> None:
        wanted: dict[str, _Wanted] = {}
        for row in await self._registry.wanted(self._base_model):
            one = wanted.setdefault(engine_name(row.name, row.digest), _Wanted(row.uri))
            one.pinned |= row.pinned
            one.publishing |= row.state == AdapterState.PUBLISHING
        self._wanted = wanted

    async def _owed(self) -> Sequence[str]:
        """What it has to hold, whether or not anybody asks."""
        if fits(self._replica, len(self._wanted)):
            return list(self._wanted)
        places = self._residents.places
        pinned = [name for name, one in self._wanted.items() if one.pinned][:places]
        publishing = [n for n, one in self._wanted.items() if one.publishing and not one.pinned]
        if publishing:
            replicas = [*await self._others(), self._replica]
            publishing = [n for n in publishing if home(n, replicas) == self._replica.id]
        # Some at a time: requests need places too, and what is published no longer has to stay.
        return pinned + publishing[: (places - len(pinned) + 1) // 2]

    async def _warm(self) -> Sequence[str]:
        """What the places that are left are for, the best last."""
        names = [name for name in self._wanted if name not in self._residents]
        if fits(self._replica, len(self._wanted)):
            return []  # the steps load them
        try:
            last = await self._uses.last(self._base_model, names)
        except (RedisError, OSError) as error:
            log.warning("nobody says which adapters were used last: %s", error)
            last = {}
        elsewhere = {name for replica in await self._others() for name in replica.adapters}
        best = sorted(names, key=lambda name: (name in elsewhere, -last.get(name, 0.0)))
        return best[: self._residents.places - len(self._residents.names)][::-1]

    async def _others(self) -> Sequence[Replica]:
        try:
            replicas = (await self._directory.read()).get(self._base_model, [])
        except (RedisError, OSError) as error:
            log.warning("other replicas not read, taken for none: %s", error)
            return []
        return [replica for replica in replicas if replica.id != self._replica.id]

    async def _tell_uses(self) -> None:
        since, self._told_at = self._told_at, time.time()
        try:
            await self._uses.tell(self._base_model, self._residents.used(since))
        except (RedisError, OSError) as error:
            self._told_at = since
            log.warning("uses of adapters not told: %s", error)

    async def _remove_copies(self) -> None:
        try:
            wanted = {row.uri for row in await self._registry.wanted()}
            await anyio.to_thread.run_sync(remove_unused, FOLDER, wanted, self._cache)
        except (LorikeetError, OSError) as error:
            log.warning("unused copies of adapters stay: %s", error)

    @property
    def pause(self) -> float:
        """Seconds until the next step is due, if nothing happens before."""
        return min(POLL, self._loader.due_in(self._residents.kept))


async def reconcile(reconciler: AdapterReconciler, redis: Redis, changed: asyncio.Event) -> None:
    """Run the reconciler for ever; `changed` is set whenever it did something."""
    changes = reconciler.wake
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
            except Exception:  # a fault of ours: without this task Serve would restart the replica
                log.exception("adapters not compared with the registry")
                pause = POLL
            await happens(changes, pause)
    finally:
        listener.cancel()
