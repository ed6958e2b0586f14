"""Children that do not outlive their parent, however it ends.

As a script: `tether.py SIGNAL PARENT PROGRAM [ARGUMENT...]` asks the kernel to send SIGNAL when
the parent goes, then becomes PROGRAM. It is a script of its own because code between fork and exec
is not safe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
from signal import Signals

PR_SET_PDEATHSIG = 1


def tethered(command: list[str], signal: Signals) -> list[str]:
    """`command`, to be started by this thread: the signal comes when the *thread* ends."""
    python = [sys.executable, "-I", "-S", __file__]
    return [*python, str(int(signal)), str(os.getpid()), *command]


def die_with_parent(signal: Signals, parent: int | None) -> None:
    """Ask the kernel to send `signal` to this process when the thread that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(0)  # it went before we asked


def main() -> None:
    signal, parent, *command = sys.argv[1:]
    die_with_parent(Signals(int(signal)), int(parent))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
