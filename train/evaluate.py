"""The best weights so far, by the loss on held-out rows.

Kept in the artifact store and not in memory, so that a training that resumes still knows them.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.store.artifacts import Artifacts
from train.checkpoint import step_name


@dataclass(frozen=True)
class Mark:
    """Weights with their held-out loss (mean per token) after `step` steps."""

    step: int
    loss: float
    uri: str


class Best:
    """The job's best weights. Every worker holds one; rank 0 alone calls `keep`."""

    def __init__(self, artifacts: Artifacts, job_id: str) -> None:
        self._artifacts = artifacts
        self._folder = f"jobs/{job_id}/best"
        self._pointer = artifacts.path(f"{self._folder}/best.json")
        self.mark: Mark | None = None
        if artifacts.fs.exists(self._pointer):
            self.mark = Mark(**json.loads(artifacts.fs.cat_file(self._pointer)))

    def improved(self, step: int, loss: float) -> bool:
        """Whether `loss` is the lowest so far (NaN never is). Remembers it: the same on every
        worker."""
        if not loss < (self.mark.loss if self.mark is not None else math.inf):
            return False
        self.mark = Mark(step, loss, f"{self._folder}/{step_name(step)}")
        return True

    def keep(self, folder: Path) -> None:
        """Store the weights that `improved` was just told of."""
        assert self.mark is not None
        fs, target = self._artifacts.fs, self._artifacts.path(self.mark.uri)
        self._artifacts.delete(self.mark.uri)
        fs.makedirs(target, exist_ok=True)
        fs.put(f"{folder}/", f"{target}/", recursive=True)
        # The pointer last: it names a whole folder at every moment.
        fs.pipe_file(self._pointer, json.dumps(asdict(self.mark)).encode())
        for other in fs.ls(self._artifacts.path(self._folder), detail=False):
            name = other.rstrip("/").rpartition("/")[2]
            if name not in (step_name(self.mark.step), "best.json"):
                fs.rm(other, recursive=True)

    def fetch(self, cache: Path) -> Path:
        """A local folder with the best weights."""
        assert self.mark is not None
        return self._artifacts.fetch_folder(self.mark.uri, cache)
