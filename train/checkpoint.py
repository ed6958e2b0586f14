"""Checkpoints in the artifact store: which are complete, which is the last, which may go.

A checkpoint is a folder ``jobs/<job>/attempt-<n>/step<000100>``. It counts once COMPLETE is in it,
which is written after all the rest is there; a folder without it is a crash's leftover.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from pathlib import Path

from cluster.store.artifacts import Artifacts

COMPLETE = "COMPLETE.json"
KEEP = 2
"""Complete checkpoints kept, the newest."""


def run_name(attempt: int) -> str:
    """Ray Train's name for an attempt. Each has its own: Ray would resume one that it knows."""
    return f"attempt-{attempt}"


def step_name(step: int) -> str:
    return f"step{step:06d}"


@dataclass(frozen=True, order=True)
class Kept:
    """A complete checkpoint: after how many steps, by which attempt, and where."""

    step: int
    attempt: int
    uri: str


class Checkpoints:
    """The checkpoints of one job, of all its attempts."""

    def __init__(self, artifacts: Artifacts, job_id: str) -> None:
        self._artifacts = artifacts
        self._folder = f"jobs/{job_id}"

    def complete(self) -> list[Kept]:
        """The complete checkpoints, oldest step first."""
        fs = self._artifacts.fs
        fs.invalidate_cache()
        found = []
        for marker in fs.glob(f"{self._artifacts.path(self._folder)}/attempt-*/step*/{COMPLETE}"):
            attempt, step = posixpath.dirname(marker).split("/")[-2:]
            uri = f"{self._folder}/{attempt}/{step}"
            found.append(Kept(int(step.removeprefix("step")), int(attempt.split("-")[1]), uri))
        return sorted(found)

    def latest(self) -> Kept | None:
        return max(self.complete(), default=None)

    def fetch(self, kept: Kept, cache: Path) -> Path:
        """A local folder with the checkpoint's files."""
        return self._artifacts.fetch_folder(kept.uri, cache)

    def seal(self, attempt: int, step: int, metrics: dict[str, float]) -> Kept:
        """Declare complete what the workers have stored, and drop what is no longer needed."""
        kept = Kept(step, attempt, f"{self._folder}/{run_name(attempt)}/{step_name(step)}")
        body = json.dumps({"step": step, "metrics": metrics}).encode()
        self._artifacts.fs.pipe_file(self._artifacts.path(f"{kept.uri}/{COMPLETE}"), body)
        for old in self.complete()[:-KEEP]:
            # The marker first: a deletion that is cut short must not leave a complete-looking half.
            self._artifacts.delete(f"{old.uri}/{COMPLETE}")
            self._artifacts.delete(old.uri)
        return kept


def report(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """Store `folder` through Ray Train; returns once every worker's is stored.

    Every worker calls it with a folder of its own, which has its part of the optimizer's state;
    Ray merges them.
    """
    import ray.train
    import torch.distributed as dist

    ray.train.report(
        {"step": step, **metrics},
        checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
        checkpoint_dir_name=step_name(step),
    )
    dist.barrier()
