"""What a crash left half-way in the artifact store: names under which bytes came or went."""

from __future__ import annotations

import contextlib
import posixpath
from datetime import datetime

from cluster.store.artifacts import INCOMING, OUTGOING, Artifacts, reaching


def remove_leftovers(artifacts: Artifacts, before: datetime) -> list[str]:
    """Remove them where nothing was written to them since `before`. Returns their URIs.

    Blocking. Raises Unavailable where the store is away.
    """
    fs, removed = artifacts.fs, []
    with reaching():
        fs.invalidate_cache()
        tops = fs.ls(artifacts.root, detail=False) if fs.exists(artifacts.root) else []
        for top in (posixpath.basename(name.rstrip("/")) for name in tops):
            for prefix in (INCOMING, OUTGOING):
                for path in fs.glob(posixpath.join(artifacts.root, top, f"{prefix}*")):
                    if not _written(artifacts, path, before):
                        artifacts.discard(path)
                        removed.append(f"{top}/{posixpath.basename(path)}")
    return removed


def _written(artifacts: Artifacts, path: str, since: datetime) -> bool:
    """Whether a file below `path` was written since, or has gone by itself."""
    fs = artifacts.fs
    with contextlib.suppress(FileNotFoundError):
        return any(fs.modified(file) >= since for file in fs.find(path) or [path])
    return True
