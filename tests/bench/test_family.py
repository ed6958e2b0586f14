"""A family ends what it started, daemons included, and nothing else."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.systems.family import Family, answers

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
print("left", flush=True)
time.sleep({linger})
"""


pytestmark = pytest.mark.slow


def test_daemons_are_found_and_ended(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    family = Family("daemon", tmp_path)
    try:
        family.spawn([sys.executable, "-c", DAEMON.format(linger=60)], {})
        deadline = time.monotonic() + 5
        while "left" not in family.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        assert len(family.processes()) == 2
        family.stop(grace=2)
        assert family.processes() == []
        assert psutil.Process(stranger.pid).is_running()
    finally:
        family.stop(grace=0.1)
        stranger.kill()
        stranger.wait()


def test_a_command_that_detaches_leaves_its_daemon_in_the_family(tmp_path: Path) -> None:
    family = Family("detach", tmp_path)
    try:
        family.run([sys.executable, "-c", DAEMON.format(linger=0)], {}, timeout=5)
        assert len(family.processes()) == 1
    finally:
        family.stop(grace=1)
    assert family.processes() == []


def test_a_process_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    family = Family("early", tmp_path)
    family.spawn([sys.executable, "-c", "print('no such model'); raise SystemExit(3)"], {})
    with pytest.raises(RuntimeError, match="ended with 3:\nno such model"):
        family.await_ready(lambda: answers("http://127.0.0.1:9/"), timeout=5)
    family.stop()
