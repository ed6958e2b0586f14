"""A Ray head as a child of this process, on loopback, with a token of its own.

It is ended by its process, never by `ray stop`, which ends every Ray on the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import psutil

from cluster.embedded.folders import private_folder
from cluster.embedded.haproxy import haproxy_environment
from cluster.embedded.instance import MARKER, sweep
from cluster.embedded.ports import PortBlock
from cluster.embedded.tether import tethered
from cluster.errors import Unavailable
from cluster.settings import Settings

LOGICAL_CPUS = 4
"""At least so many, also on a smaller machine: they are only what deployments and jobs ask for."""
OBJECT_STORE_BYTES = (256 * 2**20, 2 * 2**30)
FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_NAMESPACE", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables by which a shell points at another cluster. Not passed on."""
SESSIONS_KEPT = 2
STARTED = b"Ray runtime started."
TOO_SLOW = b"The current node timed out during startup."
"""What `ray start` prints when all its processes are up, and when they took over 30 seconds."""


class RayHead:
    """One head node. `start`, then `wait` until its API answers, then `stop`."""

    def __init__(self, settings: Settings, ports: PortBlock, instance: str, cwd: Path) -> None:
        self.ports = ports
        self.token_file = settings.home / "ray.token"
        self.folder = settings.short_folder / "ray"
        self.address = f"127.0.0.1:{ports['gcs']}"
        self.dashboard = f"http://127.0.0.1:{ports['dashboard']}"
        self.log = settings.home / "run" / "ray.log"
        self._engines = settings.short_folder / "v"
        self._proxies = settings.short_folder / "h"
        self._settings = settings
        self._instance = instance
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        private_folder(self._settings.short_folder)
        private_folder(self.folder)
        self._forget_old_sessions()
        self._forget_old_sockets()
        private_folder(self._engines)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                # Should this process be killed, Ray still ends in order.
                tethered(self._command(), SIGTERM),
                env=self.environment(),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we end it when Serve has drained
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float) -> None:
        """Return when Ray has started. Raises Unavailable with the end of the log."""
        deadline = time.monotonic() + timeout
        while STARTED not in (log := self.log.read_bytes()):
            if not self.is_alive() and TOO_SLOW in log and time.monotonic() < deadline:
                # A busy machine: what the first try has read from disk, the next one need not.
                sweep(self._instance)
                self.start()
            if not self.is_alive():
                raise Unavailable(f"Ray did not start.\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise Unavailable(f"Ray did not start in {timeout:.0f} s.\n{tail(self.log)}")
            time.sleep(0.1)

    def stop(self, timeout: float = 20.0) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def environment(self) -> dict[str, str]:
        """What all processes of the product inherit."""
        inherited = {k: v for k, v in os.environ.items() if k not in FOREIGN}
        here = str(Path(sys.executable).parent)
        return inherited | {
            MARKER: self._instance,
            "LORIKEET_HOME": str(self._settings.home),
            "PATH": os.pathsep.join([here, inherited.get("PATH", os.defpath)]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder),
            # Workers run at nice 15 otherwise, behind everything else on the machine.
            "RAY_worker_niceness": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            # Ten times a second by default: at rest the two cost a tenth of a core.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
            # Serve is drained before Ray is stopped.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            # Ray replaces 127.0.0.1 by the machine's outer address unless clusters are off, and
            # then listens on every interface.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_START_HOOK": "cluster.embedded.ray_hook.no_client_server",
            # A killed engine leaves its sockets behind: here the next start finds them.
            "VLLM_RPC_BASE_PATH": str(self._engines),
            "DASHBOARD_METRIC_PORT": str(self.ports["dashboard_metrics"]),
            **haproxy_environment(self._proxies, self.ports),
        }

    def _command(self) -> list[str]:
        least, most = OBJECT_STORE_BYTES
        memory = min(most, max(least, psutil.virtual_memory().total // 64))
        options = {
            "node-ip-address": "127.0.0.1",
            "port": self.ports["gcs"],
            "dashboard-host": "127.0.0.1",
            "dashboard-port": self.ports["dashboard"],
            "dashboard-agent-listen-port": self.ports["agent_http"],
            "dashboard-agent-grpc-port": self.ports["agent_grpc"],
            "runtime-env-agent-port": self.ports["runtime_env"],
            "node-manager-port": self.ports["node_manager"],
            "object-manager-port": self.ports["object_manager"],
            "metrics-export-port": self.ports["ray_metrics"],
            "min-worker-port": 0,
            "max-worker-port": 0,
            "num-cpus": max(LOGICAL_CPUS, os.cpu_count() or 1),
            "object-store-memory": memory,
            "temp-dir": self.folder,
        }
        flags = ["--head", "--block", "--disable-usage-stats", "--no-monitor"]
        python = [sys.executable, "-m", "ray.scripts.scripts", "start"]
        return [*python, *flags, *(f"--{name}={value}" for name, value in options.items())]

    def _forget_old_sessions(self) -> None:
        # Each start leaves a folder of logs; the last ones are kept to be looked at.
        sessions = sorted(p for p in self.folder.glob("session_*") if not p.is_symlink())
        for old in sessions[: -SESSIONS_KEPT or None]:
            shutil.rmtree(old, ignore_errors=True)

    def _forget_old_sockets(self) -> None:
        for folder in (self._engines, self._proxies):
            shutil.rmtree(folder, ignore_errors=True)
        for socket in self._settings.short_folder.glob("llm-*.sock"):
            socket.unlink(missing_ok=True)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, under its name."""
    text = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join([f"{path}:", *text[-lines:]])
