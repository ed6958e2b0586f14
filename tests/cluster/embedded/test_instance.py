"""The marker finds what no process tree shows, and nothing of anybody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from signal import SIGTERM

import psutil
import pytest

from cluster.embedded.instance import MARKER, marked, sweep
from cluster.embedded.tether import tethered

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"  # noqa: E501


@pytest.fixture
def instance() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    sweep(name, grace=0)


def sleeper(instance: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: instance})


def test_only_the_marked_are_found(instance: str) -> None:
    ours, other = sleeper(instance), sleeper(instance + "x")
    try:
        _soon(lambda: [p.pid for p in marked(instance)] == [ours.pid])
        assert sweep(instance) == 1
        assert ours.poll() is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_orphans_are_found(instance: str) -> None:
    script = "sleep 60 & exit"
    subprocess.run(["sh", "-c", script], env={**os.environ, MARKER: instance}, check=True)
    _soon(lambda: [p.name() for p in marked(instance)] == ["sleep"])
    assert sweep(instance) == 1
    assert not marked(instance)


def test_what_does_not_listen_is_killed(instance: str) -> None:
    environment = {**os.environ, MARKER: instance}
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert sweep(instance, grace=0.3) == 1
    assert process.poll() is not None
    process.stdout.close()


def test_nothing_to_sweep(instance: str) -> None:
    assert sweep(instance) == 0


def test_a_tethered_child_goes_with_its_parent(instance: str) -> None:
    parent = (
        "import os, subprocess, sys, time\n"
        "from signal import SIGTERM\n"
        "from cluster.embedded.tether import tethered\n"
        "child = subprocess.Popen(tethered(['/bin/sleep', '60'], SIGTERM))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    _soon(lambda: child.name() == "sleep")
    process.kill()
    process.wait()
    _soon(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    process.stdout.close()


def test_a_tether_keeps_the_words_as_they_are() -> None:
    done = subprocess.run(
        tethered(["/bin/echo", "two words", "", "$HOME"], SIGTERM),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "two words  $HOME\n"


def _soon(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
