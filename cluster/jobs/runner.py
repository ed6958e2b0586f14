"""What runs training processes: Ray Jobs, or a double in tests."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol


class RunStatus(StrEnum):
    PENDING = "pending"
    """Waits for resources. Such a run can't be stopped."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    """The cluster has never heard of it: not submitted yet, or the cluster is a new one."""


ENDED = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.STOPPED, RunStatus.UNKNOWN})


def submission_id(job_id: str, attempt: int) -> str:
    """Unique and known beforehand: a submission whose answer was lost is found again."""
    return f"{job_id}-{attempt}"


class Runner(Protocol):
    """Each call raises Unavailable where the cluster does not answer."""

    async def submit(self, job_id: str, attempt: int) -> str:
        """Start the attempt's process. Doing it twice is doing it once."""

    async def status(self, submission: str) -> RunStatus: ...

    async def stop(self, submission: str) -> None:
        """Ask it to end (SIGTERM, later SIGKILL). One that has ended or is unknown is no error."""

    async def tail(self, submission: str, lines: int) -> str:
        """The end of its log; empty where there is none."""

    async def exit_code(self, submission: str) -> int | None:
        """Of a process that has ended; None where it is not known."""

    async def resources(self) -> Mapping[str, float]:
        """What all nodes of the cluster have together, used or not: `CPU`, `GPU`."""
