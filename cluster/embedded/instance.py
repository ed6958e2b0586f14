"""Which processes are ours: all that inherited the marker which `up` put in the environment.

Ray's workers, vLLM's engine cores, HAProxy and Redis all pass their environment on, so the marker
reaches what no process tree shows any more.
"""

from __future__ import annotations

import os
import time

import psutil

MARKER = "LORIKEET_INSTANCE"


def marked(instance: str) -> list[psutil.Process]:
    """The living processes that carry `instance`, without this one."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(MARKER) == instance and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or of another user
    return found


def sweep(instance: str, *, grace: float = 5.0) -> int:
    """End all that carries `instance`: asked first, killed after `grace` seconds.

    Returns how many there were.
    """
    leftovers = marked(instance)
    for process in leftovers:
        _signal(process, kill=grace <= 0)
    if leftovers:
        psutil.wait_procs(leftovers, timeout=grace or 0.2)
    deadline = time.monotonic() + 10
    # What was killed may have been starting another: look until there is none.
    while (survivors := marked(instance)) and time.monotonic() < deadline:
        for process in survivors:
            _signal(process, kill=True)
        psutil.wait_procs(survivors, timeout=1)
    return len(leftovers)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        pass
