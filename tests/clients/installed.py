"""Clients that need packages of their own: installed from their lock files on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).parent
HOME = CLIENTS / ".installed"
MINUTES = 10


def python() -> Path:
    """The interpreter of an environment with langchain-openai, LiteLLM and Schemathesis.

    They pin what the product needs in other versions.
    """
    lock = CLIENTS / "python.txt"
    home = HOME / "python"
    if not _is_fresh(home, lock):
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.is_file() else shutil.which("uv")
        assert uv is not None, "uv is not installed: the clients' environment can't be made"
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(home))
        _run(
            *(uv, "pip", "install", "--quiet", "--no-deps"),
            *("--python", str(home / "bin" / "python"), "--requirement", str(lock)),
        )
        _stamp(home, lock)
    return home / "bin" / "python"


def node() -> Path | str:
    """The folder with the OpenAI SDK for Node; where it can't be had, why."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    lock = CLIENTS / "node" / "package-lock.json"
    home = HOME / "node"
    if not _is_fresh(home, lock):
        home.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", "client.mjs"):
            shutil.copy(CLIENTS / "node" / name, home)
        try:
            _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=home)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            return f"npm could not install the SDK: {(error.stderr or b'').decode()[-300:]}"
        _stamp(home, lock)
    shutil.copy(CLIENTS / "node" / "client.mjs", home)
    return home


def _is_fresh(home: Path, lock: Path) -> bool:
    """Whether `home` was made from `lock`; what is there else is removed."""
    stamp = home / "lock.sha256"
    if stamp.is_file() and stamp.read_text() == _digest(lock):
        return True
    shutil.rmtree(home, ignore_errors=True)
    return False


def _stamp(home: Path, lock: Path) -> None:
    (home / "lock.sha256").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _run(*command: str, folder: Path | None = None) -> None:
    environment = dict(os.environ)
    # uv reads none of pip's settings: hand over those that say where packages come from.
    for ours, pips in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("UV_FIND_LINKS", "PIP_FIND_LINKS")):
        if pips in environment:
            environment.setdefault(ours, environment[pips])
    subprocess.run(
        command, check=True, capture_output=True, cwd=folder, env=environment, timeout=60 * MINUTES
    )
