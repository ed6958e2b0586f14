"""A sign of life while a job's workers wait for room that others have.

Ray Train tries for a minute at a time to start all workers. Nobody else can beat meanwhile: rank 0,
which does so later, is one of them. Only a try that ends for lack of room counts, so that workers
which fail or hang at their start are still noticed by their silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from cluster.jobs.journal import Journal, Superseded

log = logging.getLogger(__name__)


class SignOfLife(WorkerGroupCallback):
    """Ray Train calls it in its controller, around each try to start the workers."""

    def __init__(self, open_journal: Callable[[], Journal]) -> None:
        self._open_journal = open_journal

    @contextmanager
    def on_worker_group_start(self) -> Iterator[None]:
        try:
            yield
        except WorkerGroupStartupTimeoutError:
            self._beat()
            raise

    def _beat(self) -> None:
        try:
            with closing(self._open_journal()) as journal:
                journal.heartbeat()
        except Superseded:
            pass  # the supervisor stops this run
        except Exception:  # the wait goes on without it; the next beat may work
            log.warning("A heartbeat failed.", exc_info=True)
