"""Rank 0's voice: everything that a training says to the control plane, and hears from it.

One thread beats every two seconds, also while the model loads, and writes progress, so that a slow
database never slows a step. What must not be lost (states, checkpoints) is written by the caller.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from cluster.jobs.journal import Journal, Level, Progress, Superseded
from cluster.jobs.states import JobState
from train.stop import Reason, StopMarker

log = logging.getLogger(__name__)

BEAT = 2.0
"""Seconds between heartbeats."""
PACE = 0.25
"""Seconds between two written steps."""


class Reporter:
    """A journal with a pulse. After Superseded it is silent, and `reason` says so."""

    def __init__(self, journal: Journal, marker: StopMarker) -> None:
        self._journal = journal
        self._marker = marker
        self._latest: Progress | None = None
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._closed = threading.Event()
        self._reason = Reason.GO_ON
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._closed.set()
        self._pulse.join(timeout=BEAT)
        self._journal.close()

    @property
    def reason(self) -> Reason:
        """Whether to go on."""
        return self._reason

    def move(self, *states: JobState) -> None:
        self.flush()  # watchers read the steps before what follows from them
        self._say(lambda: self._journal.move(*states))

    def holds(self) -> bool:
        """Whether the job is still this attempt's: asked now, not at the last heartbeat."""
        self._say(self._journal.heartbeat)
        return self._reason is not Reason.SUPERSEDED

    def note(self, message: str, *, level: Level = "info", **data: Any) -> None:
        self.flush()
        self._say(lambda: self._journal.note(message, level=level, data=data or None))

    def progress(self, progress: Progress) -> None:
        """Say it soon; of steps faster than PACE only the latest is told."""
        with self._lock:
            self._latest = progress

    def flush(self) -> None:
        """Tell the latest progress now; returns once it is told, whoever tells it."""
        with self._telling:
            with self._lock:
                latest, self._latest = self._latest, None
            if latest is not None:
                self._say(lambda: self._journal.progress(latest))

    def checkpoint(self, step: int, uri: str, metrics: dict[str, float]) -> None:
        self._say(lambda: self._journal.checkpoint(step, uri, metrics))

    def registering(self, adapter_id: str, model: str, trained_tokens: int) -> None:
        self._say(lambda: self._journal.registering(adapter_id, model, trained_tokens))

    def fail(self, code: str, message: str, *, param: str | None = None) -> None:
        self._say(lambda: self._journal.fail(code, message, param=param))

    def _say(self, write: Callable[[], object]) -> None:
        if self._reason is not Reason.SUPERSEDED:
            try:
                write()
            except Superseded:
                self._reason = Reason.SUPERSEDED

    def _beat(self) -> None:
        next_beat = 0.0
        while not self._closed.wait(PACE):
            try:
                self.flush()
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + BEAT
                    if self._journal.heartbeat() or self._marker.found():
                        self._reason = max(self._reason, Reason.ASKED)
            except Superseded:
                self._reason = Reason.SUPERSEDED
            except Exception:  # the training goes on without its pulse; the next beat may work
                log.warning("A heartbeat failed.", exc_info=True)
