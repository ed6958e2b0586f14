"""Copies of an artifact store's folders on a node's disk.

The node's processes share them, and an engine may read one again as long as a request names it. So
nobody removes a copy when he is done with it: whoever uses one marks it, and what is unmarked for
long may go.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from cluster.store.artifacts import OUTGOING

MARK_EVERY = 3600.0
"""Seconds after which a copy in use is to be marked again."""
UNUSED_AFTER = 86400.0
"""Seconds without a mark after which nobody uses a copy; far longer than any request runs."""


def mark(uris: Iterable[str], cache: Path) -> None:
    """Say that the copies of `uris` are in use; fetching one has said so once."""
    for uri in uris:
        with contextlib.suppress(OSError):  # not copied: the store itself is on the disk
            os.utime(cache / uri)


def remove_unused(folder: str, wanted: Collection[str], cache: Path) -> None:
    """Remove what `cache` holds of the store's `folder` and nobody uses or wants.

    Several may do so at once. What cannot be removed stays. Raises OSError where `cache` cannot
    be listed.
    """
    before = time.time() - UNUSED_AFTER
    for copy in list(cache.glob(f"{folder}/*/*")):
        if copy.relative_to(cache).as_posix() in wanted:
            continue
        with contextlib.suppress(OSError):
            if copy.stat().st_mtime < before:
                leaving = copy.with_name(f"{OUTGOING}{secrets.token_hex(8)}")
                copy.rename(leaving)  # at once: half a copy must not be found by its name
                shutil.rmtree(leaving)
