"""A request to end, from wherever it comes to every worker at the same step.

It comes from the journal (cancel, pause, superseded) or as a SIGTERM to the driver. The driver has
no line to the workers while Ray Train runs, so it leaves a marker in the artifact store, which
rank 0 looks for at each heartbeat.
"""

from __future__ import annotations

from enum import IntEnum

from cluster.store.artifacts import Artifacts


class Reason(IntEnum):
    """Why to end. Of several the greatest counts."""

    GO_ON = 0
    ASKED = 1
    """Cancelled, paused or terminated: keep a checkpoint."""
    SUPERSEDED = 2
    """The job is another process's by now: touch nothing."""


class StopMarker:
    """A file that asks one attempt of a job to stop."""

    def __init__(self, artifacts: Artifacts, job_id: str, attempt: int) -> None:
        self._fs = artifacts.fs
        self._path = artifacts.path(f"jobs/{job_id}/attempt-{attempt}.stop")

    def leave(self) -> None:
        self._fs.makedirs(self._path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(self._path, b"")

    def found(self) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._path))


def agreed(own: Reason) -> Reason:
    """The greatest reason of all workers; every worker calls it at the same step."""
    import torch
    import torch.distributed as dist

    if dist.get_world_size() == 1:
        return own
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    reason = torch.tensor([int(own)], device=device)
    dist.all_reduce(reason, op=dist.ReduceOp.MAX)
    return Reason(int(reason.item()))
