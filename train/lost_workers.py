"""Tells the job of workers that were lost and are replaced within the attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing

from ray.train import WorkerGroupError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import RestartingState, TrainControllerState

from cluster.jobs.journal import Journal, Superseded
from cluster.store.artifacts import Artifacts
from train.checkpoint import Checkpoints

log = logging.getLogger(__name__)


class LostWorkers(ControllerCallback):
    """Ray Train calls it in its controller, which outlives the workers."""

    def __init__(
        self, open_journal: Callable[[], Journal], artifacts_url: str, job_id: str
    ) -> None:
        self._open_journal = open_journal
        self._artifacts_url = artifacts_url
        self._job_id = job_id

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        if not isinstance(current_state, RestartingState):
            return
        error = current_state.training_failed_error
        if isinstance(error, WorkerGroupError):
            self._tell(sorted(error.worker_failures))

    def _tell(self, ranks: list[int]) -> None:
        try:
            kept = Checkpoints(Artifacts(self._artifacts_url), self._job_id).latest()
            onward = (
                "begins again."
                if kept is None
                else f"will go on after step {kept.step} of attempt {kept.attempt}."
            )
            message = f"A worker was lost and is replaced; the training {onward}"
            with closing(self._open_journal()) as journal:
                journal.note(message, level="warn", data={"workers": ranks})
        except Superseded:
            pass  # the supervisor stops this run
        except Exception:  # the workers are replaced without it
            log.warning("The loss of a worker could not be told.", exc_info=True)
