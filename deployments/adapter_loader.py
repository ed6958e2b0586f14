"""Brings adapters into a running engine and takes them out, within its places."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from cluster.catalog.adapter_name import public_name
from cluster.catalog.residents import Residents
from cluster.errors import Unavailable
from cluster.store.artifacts import Artifacts

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""After so many an adapter counts as failed. It is tried on for as long as it is wanted."""
BACKOFF = 0.5
"""Seconds before the second attempt; doubled for each further one, up to `LONGEST`."""
LONGEST = 60.0
AWAY = 5.0
"""Seconds before the next attempt where the artifact store did not answer."""
RECENT = 0.2
"""The weight of the last load in the time that one takes."""


class LoadFailed(Exception):
    """The engine refused an adapter; its text says why."""


class AdapterHost(Protocol):
    """An engine that adapters can be put into and taken out of while it runs."""

    async def load(self, name: str, folder: Path) -> None:
        """Raises LoadFailed."""

    async def unload(self, name: str) -> None: ...


@dataclass
class Attempts:
    made: int
    again_at: float
    reason: str
    away: bool
    """Whether the last attempt did not reach the artifact store."""


@dataclass
class _Coming:
    """A load on its way, and how many wait for it."""

    task: asyncio.Task[None]
    waiting: int = 0
    there: bool = False
    placed: bool = False


class AdapterLoader:
    """One load of an adapter at a time, however many ask for it.

    Where all places are taken the least used adapter that nobody uses goes. Where all are in use,
    one of them takes no new request until those that it has are over: so each has its turn.
    """

    def __init__(
        self, host: AdapterHost, artifacts: Artifacts, cache: Path, residents: Residents
    ) -> None:
        self._host = host
        self._artifacts = artifacts
        self._cache = cache
        self._residents = residents
        self._attempts: dict[str, Attempts] = {}
        self._coming: dict[str, _Coming] = {}
        self._door = asyncio.Lock()
        self._freed = asyncio.Event()
        self.changed = asyncio.Event()
        """Set when what the engine holds, or lends, is another."""
        self.seconds = 0.05
        """What a load took lately, without waiting for a place."""

    @property
    def failures(self) -> dict[str, str]:
        """Adapters whose first attempts have all failed, with the last reason."""
        return {n: a.reason for n, a in self._attempts.items() if a.made >= ATTEMPTS}

    def untried(self, names: Collection[str]) -> list[Attempts]:
        """The attempts of those, of these, that have neither come nor failed."""
        return [a for n, a in self._attempts.items() if n in names and a.made < ATTEMPTS]

    def due_in(self, names: Collection[str]) -> float:
        """Seconds until the next attempt at one of these is due."""
        now = time.monotonic()
        due = (a.again_at - now for n, a in self._attempts.items() if n in names)
        return max(0.0, min(due, default=AWAY))

    def due(self, name: str) -> bool:
        attempts = self._attempts.get(name)
        return attempts is None or time.monotonic() >= attempts.again_at

    def forget(self, wanted: Collection[str]) -> bool:
        """Drop the attempts at all but these. Whether there were any."""
        unwanted = [name for name in self._attempts if name not in wanted]
        for name in unwanted:
            del self._attempts[name]
        return bool(unwanted)

    def rethink(self) -> None:
        """Who waits for a place looks again: other adapters are kept now."""
        self._freed.set()

    async def enter(self, name: str, uri: str) -> None:
        """Use an adapter until `leave`, loading it first where it is not there.

        Raises Unavailable where it can't be had now, for a reason that may pass.
        """
        while not self._residents.enter(name):
            attempts = self._attempts.get(name)
            if attempts is not None and not self.due(name):
                raise Unavailable(
                    f"The adapter {public_name(name)!r} could not be loaded: {attempts.reason}",
                    retry_after=attempts.again_at - time.monotonic(),
                )
            if await self._wait(name, uri):
                self._residents.touch(name)
                return

    def leave(self, name: str) -> None:
        self._residents.leave(name)
        if not self._residents.busy(name):
            self._freed.set()

    async def bring(self, name: str, uri: str) -> bool:
        """Load an adapter that nobody asked for yet. Whether what is to be told of it changed."""
        failed = name in self.failures
        if await self._wait(name, uri):
            self.leave(name)
            return True
        return (name in self.failures) is not failed

    async def _wait(self, name: str, uri: str) -> bool:
        """Wait for the one load; whether it came, and is being used by whoever waited."""
        coming = self._coming.get(name)
        if coming is None:
            coming = self._coming[name] = _Coming(asyncio.create_task(self._load(name, uri)))
        coming.waiting += 1
        try:
            await asyncio.shield(coming.task)
        except asyncio.CancelledError:
            coming.waiting -= 1
            if coming.there:
                self.leave(name)
            elif not coming.waiting and not coming.placed:
                self._coming.pop(name, None)
                coming.task.cancel()  # nobody waits for it any more, and nobody has moved for it
            raise
        return coming.there

    async def _load(self, name: str, uri: str) -> None:
        coming = self._coming[name]
        try:
            began = time.monotonic()
            folder = await anyio.to_thread.run_sync(self._artifacts.fetch_folder, uri, self._cache)
            fetched = time.monotonic() - began
            async with self._door:
                while name in self._residents.going:
                    self._freed.clear()
                    await self._freed.wait()
                if name not in self._residents:  # else it was to yield its place, and has it still
                    await self._make_room()
                    coming.placed = True
                    began = time.monotonic()
                    await self._host.load(name, folder)
                    taken = fetched + time.monotonic() - began
                    self.seconds += RECENT * (taken - self.seconds)
                    self._residents.add(name, uri)
                    log.info("adapter %s loaded", name)
                # Before anybody else has a turn, or it might go before it was used.
                for _ in range(coming.waiting):
                    held = self._residents.hold(name)
                    assert held, "who is at the door asks nobody to yield"
                coming.there = True
        except Unavailable as error:
            # No fault of the adapter's: it does not count as failed, and others are still tried.
            made = self._attempts[name].made if name in self._attempts else 0
            self._attempts[name] = Attempts(made, time.monotonic() + AWAY, str(error), True)
            log.warning("adapter %s waits: %s", name, error)
        except (LoadFailed, OSError) as error:
            made = self._attempts[name].made + 1 if name in self._attempts else 1
            wait = min(LONGEST, BACKOFF * 2 ** min(made - 1, 16))
            self._attempts[name] = Attempts(made, time.monotonic() + wait, str(error), False)
            log.warning("adapter %s, attempt %d, again in %.1f s: %s", name, made, wait, error)
        else:
            self._attempts.pop(name, None)
        finally:
            if self._coming.get(name) is coming:
                del self._coming[name]
            self.changed.set()

    async def _make_room(self) -> None:
        try:
            while self._residents.full:
                self._freed.clear()
                name = self._residents.coldest()
                if name is None:
                    self._residents.ask()
                    self.changed.set()
                    await self._freed.wait()
                elif not await self.remove(name):
                    raise LoadFailed(f"There is no place: the engine does not give up {name}.")
        finally:
            self._residents.yielding = None

    async def remove(self, name: str) -> bool:
        """Take an adapter out that nobody uses. Whether it went."""
        if name in self._residents.going:
            return False
        self._residents.going.add(name)
        try:
            await self._host.unload(name)
        except Exception:  # whatever an engine raises: the next step tries again
            log.warning("adapter %s not unloaded", name, exc_info=True)
            return False
        else:
            # Its copy stays: another replica of this node may use it.
            self._residents.remove(name)
            self.changed.set()
            return True
        finally:
            self._residents.going.discard(name)
            self._freed.set()
