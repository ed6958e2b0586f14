"""The one-machine product on a real Ray: two homes, kill -9, Ctrl-C, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.embedded.instance import MARKER, marked
from cluster.embedded.ports import listen
from cluster.embedded.record import ProductRecord, is_running
from cluster.settings import Settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CONFIG = Path(__file__).with_name("tiny_config.yaml")
ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "cluster.cli.app"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def lorikeet(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=600,
        check=False,
    )


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


@dataclass
class Home:
    path: Path
    port: int

    @property
    def words(self) -> list[str]:
        return [f"--home={self.path}", f"--port={self.port}", f"--config={CONFIG}"]

    @property
    def record(self) -> ProductRecord:
        record = ProductRecord.load(self.path)
        assert record is not None
        return record

    def count(self) -> dict[str, Any]:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/count", timeout=10)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two products on one machine. The second's path is too long for a socket."""
    folder = tmp_path_factory.mktemp("homes")
    first = Home(folder / "first", free_port())
    second = Home(folder / ("long-" * 20) / "second", free_port())
    try:
        for home in (first, second):
            started = lorikeet("up", "--detach", *home.words)
            assert started.returncode == 0, started.stderr
            assert "Lorikeet is ready at" in started.stdout
        yield first, second
    finally:
        for home in (first, second):
            lorikeet("down", f"--home={home.path}")
            shutil.rmtree(Settings(home=home.path).short_folder, ignore_errors=True)


def test_two_products_run_side_by_side(homes: tuple[Home, Home]) -> None:
    counts = [home.count() for home in homes]
    assert [c["home"] for c in counts] == [str(home.path) for home in homes]
    assert counts[0]["redis_pid"] != counts[1]["redis_pid"]
    for home in homes:
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        parts = json.loads((home.path / "run" / "startup.json").read_text())
        names = [part["part"] for part in parts]
        assert names == ["ray", "stores", "serve", "tiny", "ready", "total"]
        assert all(part["seconds"] >= 0 for part in parts)


def test_status_says_where_it_is(homes: tuple[Home, Home]) -> None:
    home = homes[0]
    shown = lorikeet("status", "--json", f"--home={home.path}")
    found = json.loads(shown.stdout)
    assert shown.returncode == 0
    assert found["url"] == f"http://127.0.0.1:{home.port}"
    assert found["key_file"] == str(home.path / "admin.key")
    assert found["pid"] == home.record.pid


def test_only_loopback_is_listened_on(homes: tuple[Home, Home]) -> None:
    """Except by replicas among each other, who ask for Ray's token."""
    outside = {
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in marked(homes[0].record.instance)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and not process.name().startswith("ray::Serve")
        and connection.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")
    }
    assert outside == set()


def test_ray_asks_for_the_token(homes: tuple[Home, Home]) -> None:
    record = homes[0].record
    address = f"{record.dashboard}/api/serve/applications/"
    assert httpx.get(address).status_code in (401, 403)
    other = Path(homes[1].record.ray_token_file or "").read_text().strip()
    headers = {"Authorization": f"Bearer {other}"}
    assert httpx.get(address, headers=headers).status_code in (401, 403)


def test_a_home_is_held_by_one_product(homes: tuple[Home, Home]) -> None:
    home = homes[0]
    again = lorikeet("up", f"--home={home.path}", f"--config={CONFIG}")
    assert again.returncode == 1
    assert f"already runs on {home.path} at http://127.0.0.1:{home.port}" in again.stderr


def test_a_taken_port_is_named(homes: tuple[Home, Home], tmp_path: Path) -> None:
    again = lorikeet(
        "up", f"--home={tmp_path / 'h'}", f"--port={homes[0].port}", f"--config={CONFIG}"
    )
    assert again.returncode == 1
    assert again.stderr.startswith(f"lorikeet: Port {homes[0].port} on 127.0.0.1 is in use")
    assert not is_running(tmp_path / "h")


def test_redis_comes_back_with_its_data(homes: tuple[Home, Home]) -> None:
    home = homes[0]
    before = home.count()
    time.sleep(1.5)  # the file is written once a second
    psutil.Process(before["redis_pid"]).kill()
    after = _eventually(home.count)
    assert after["redis_pid"] != before["redis_pid"]
    assert after["count"] == before["count"] + 1
    assert after["pid"] == before["pid"], "the replica was not restarted"


def test_what_a_kill_leaves_is_swept_and_nothing_else(homes: tuple[Home, Home]) -> None:
    killed, other = homes
    count = killed.count()["count"]
    instance, pid = killed.record.instance, killed.record.pid
    stranger = subprocess.Popen(["sleep", "300"], env={**os.environ, MARKER: "somebody-else"})
    before = {process.pid for process in marked(other.record.instance)}
    time.sleep(1.5)
    os.kill(pid, signal.SIGKILL)

    process = start("up", *killed.words)
    try:
        lines = _until(process, "Stop it with Ctrl-C")
        assert not marked(instance)
        assert killed.count()["count"] == count + 1, "".join(lines)
        again = killed.record.instance
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 130, output
        assert not marked(again)
        assert not is_running(killed.path)
        assert before <= {process.pid for process in marked(other.record.instance)}
        assert other.count()["count"] > 0
        assert stranger.poll() is None
    finally:
        process.kill()
        process.wait()
        stranger.kill()
        stranger.wait()


def test_a_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text(CONFIG.read_text().replace("tiny_app:app", "tiny_app:missing"))
    home = tmp_path / "home"
    failed = lorikeet(
        "up", "--detach", f"--home={home}", f"--port={free_port()}", f"--config={config}"
    )
    assert failed.returncode == 1
    reason = next(line for line in failed.stderr.splitlines() if line.startswith("lorikeet: "))
    assert reason.startswith("lorikeet: The application tiny failed: AttributeError: module")
    assert reason.endswith("has no attribute 'missing'")
    record = ProductRecord.load(home)
    assert record is not None
    assert not marked(record.instance)
    assert lorikeet("status", f"--home={home}").returncode == 1
    shutil.rmtree(Settings(home=home).short_folder)


def test_down_stops_it_all(homes: tuple[Home, Home]) -> None:
    home = homes[1]
    instance = home.record.instance
    done = lorikeet("down", f"--home={home.path}")
    assert done.returncode == 0, done.stderr
    assert not marked(instance)
    assert ProductRecord.load(home.path) is None
    assert "Nothing runs" in lorikeet("down", f"--home={home.path}").stderr


def _eventually(call: Any, timeout: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return call()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _until(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines of its output up to the one that holds `words`."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError("".join(lines))
