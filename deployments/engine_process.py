"""A plugin that vLLM loads in each of its processes: they end with the replica, however it ends.

A replica that is killed could otherwise leave its engine behind, with the memory and the cores that
the next one needs.
"""

from __future__ import annotations

import multiprocessing
import os
from signal import SIGKILL

from cluster.embedded.tether import die_with_parent

MARKER = "LORIKEET_ENGINE"
"""Set by replicas. Other users of this installation's vLLM are left alone."""


def die_with_replica() -> None:
    """Called by vLLM's plugin loader; does something in the engine's child processes only."""
    parent = multiprocessing.parent_process()
    if parent is not None and MARKER in os.environ:
        die_with_parent(SIGKILL, parent.pid)
