"""The states of a fine-tune job and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from cluster.lifecycle import Lifecycle


class JobState(StrEnum):
    VALIDATING = "validating"
    QUEUED = "queued"
    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    REGISTERING = "registering"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


S = JobState
_ENDS = frozenset({S.FAILED, S.CANCELLED, S.TIMED_OUT})
# QUEUED follows every state with a process behind it: a lost driver is queued again. A lost worker
# is replaced, and its successor trains again from the last checkpoint.
_AGAIN = _ENDS | {S.QUEUED}

JOB_LIFECYCLE: Lifecycle[JobState] = Lifecycle(
    "job",
    {
        S.VALIDATING: _ENDS | {S.QUEUED},
        S.QUEUED: _ENDS | {S.STARTING, S.PAUSED},
        S.STARTING: _AGAIN | {S.TRAINING, S.PAUSED},
        S.TRAINING: _AGAIN | {S.EVALUATING, S.SAVING, S.PAUSED},
        S.EVALUATING: _AGAIN | {S.TRAINING, S.SAVING, S.PAUSED},
        S.SAVING: _AGAIN | {S.TRAINING, S.REGISTERING},
        S.REGISTERING: _ENDS | {S.SUCCEEDED},
        S.PAUSED: _ENDS | {S.QUEUED},
        S.SUCCEEDED: frozenset(),
        S.FAILED: frozenset(),
        S.CANCELLED: frozenset(),
        S.TIMED_OUT: frozenset(),
    },
)

RUNNING = frozenset({S.STARTING, S.TRAINING, S.EVALUATING, S.SAVING})
"""States in which a Ray Job works on the job."""

HELD = RUNNING | {S.REGISTERING}
"""States in which a Ray Job may write to the job."""
