"""The processes of one system: started here, found by a token, ended here.

Every process is started with a random token in its environment, which its descendants inherit,
so that also a daemon that left its parent and its session is known to be ours, and nothing else
is ever ended.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

VARIABLE = "LORIKEET_BENCH_FAMILY"


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str, key: str = "none") -> bool:
    """Whether `url` answers 200."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # also what urllib and a closed connection raise
        return False


class Family:
    """One system's processes and their log."""

    def __init__(self, name: str, folder: Path) -> None:
        self.token = secrets.token_hex(8)
        self.log = folder / f"{name}.log"
        self.children: list[subprocess.Popen[bytes]] = []

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """This process's environment, the token and `extra`."""
        # SPT_NOENV keeps the environment readable in processes that change their title.
        return {**os.environ, VARIABLE: self.token, "SPT_NOENV": "1", **extra}

    def spawn(self, command: Sequence[str], extra: Mapping[str, str]) -> None:
        """Start a process in its own session, so that Ctrl-C here does not reach it."""
        with self.log.open("ab") as log:
            self.children.append(
                subprocess.Popen(
                    command,
                    env=self.environment(extra),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def run(self, command: Sequence[str], extra: Mapping[str, str], timeout: float) -> None:
        """Run a command to its end; what it leaves behind belongs to the family."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                command,
                env=self.environment(extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                timeout=timeout,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{self.tail()}")

    def await_ready(self, ready: Callable[[], bool], timeout: float = 900.0) -> None:
        """Wait until `ready` says so; say why if a process ends first."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if ready():
                return
            for child in self.children:
                if child.poll() is not None:
                    raise RuntimeError(f"a process ended with {child.returncode}:\n{self.tail()}")
            time.sleep(0.2)
        raise RuntimeError(f"not ready in {timeout:.0f} s:\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def processes(self) -> list[psutil.Process]:
        """All living processes that carry the token, and their descendants."""
        members: dict[int, psutil.Process] = {}
        rest: list[tuple[psutil.Process, int]] = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(VARIABLE) == self.token:
                    members[process.pid] = process
                else:
                    rest.append((process, process.ppid()))
            except psutil.Error:
                continue
        found = True
        while found:
            found = False
            for process, parent in rest:
                if parent in members and process.pid not in members:
                    members[process.pid] = process
                    found = True
        return list(members.values())

    def stop(self, grace: float = 30.0) -> None:
        """Ask the started processes to end, then end whatever is left of the family."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline - time.monotonic()))
        for end in (psutil.Process.terminate, psutil.Process.kill):
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    end(process)
            psutil.wait_procs(left, timeout=5)
        for child in self.children:
            child.wait(5)
        self.children.clear()
