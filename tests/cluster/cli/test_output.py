"""What a pipe, a narrow terminal and a reader that has seen enough get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli import table

from .conftest import Endpoint, Run, Terminal

pytestmark = pytest.mark.slow  # whole commands, a process each

ROOT = Path(__file__).parents[3]
LONG = "ft:budgie:rocket:bird:" + "x" * 100
MODEL = {"id": LONG, "object": "model", "created": 1, "owned_by": "acme", "parent": "budgie"}


def test_a_pipe_gets_a_row_a_line(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers["GET /v1/models"] = (200, {"data": [MODEL]})
    title, row = run("models", "list").out.splitlines()
    assert title.split() == ["MODEL", "BASE", "OWNER", "CREATED"]
    assert row.startswith(f"{LONG}  budgie  acme  ")
    assert not row.endswith(" ")


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_a_terminal_gets_what_fits(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr(table.stdout, "_file", terminal)
    monkeypatch.setattr(table.stdout, "_width", columns)
    monkeypatch.setattr(table.stdout, "_height", 20)
    table.table({"MODEL": "id", "BASE": "parent"})([MODEL])
    table.print_fields(MODEL)
    lines = terminal.getvalue().splitlines()
    assert terminal.getvalue().replace("\n", "").count("x") == 200, "folded, not cut"
    assert max(map(len, lines)) <= columns + len("\x1b[1m\x1b[0m") * 3


def test_names_of_others_are_neither_markup_nor_emoji(endpoint: Endpoint, run: Run) -> None:
    hostile = {**MODEL, "id": "[red]x:bird:\x1b[2J\n"}
    endpoint.answers["GET /v1/models"] = (200, {"data": [hostile]})
    out = run("models", "list").out
    assert "[red]x:bird:?[2J" in out
    assert "\x1b" not in out
    endpoint.answers["DELETE /v1/models/x"] = (200, {"id": ":bird:[b]\x1b"})
    assert run("adapters", "remove", "x").out == "Removed :bird:[b]?.\n"


def test_json_comes_alone(endpoint: Endpoint, run: Run, tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text("{}\n")
    job = {"id": "ftjob-1", "status": "queued", "fine_tuned_model": None}
    endpoint.answers["POST /v1/files"] = (200, {"id": "file-1"})
    endpoint.answers["POST /v1/fine_tuning/jobs"] = (200, job)
    found = run("train", "submit", str(data), "-m", "budgie", "--json")
    assert (found.json(), found.err) == (job, "")


@pytest.mark.parametrize(
    "words", [["files", "content", "file-1"], ["files", "list", "--json", "--limit", "2000"]]
)
def test_a_reader_that_has_seen_enough(endpoint: Endpoint, words: list[str]) -> None:
    rows = [{"id": f"file-{n}", "filename": "x" * 100} for n in range(2000)]
    endpoint.answers["GET /v1/files/file-1/content"] = (200, "line\n" * 100_000)
    endpoint.answers["GET /v1/files"] = (200, {"data": rows})
    child = subprocess.Popen(
        [sys.executable, "-m", "cluster.cli.app", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # it would lose the rest in silence
    )
    assert child.stdout is not None
    assert child.stdout.read(4)
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr as stderr:
        assert stderr.read() == b""
    assert child.wait(timeout=30) == 1


def test_a_full_disk(endpoint: Endpoint) -> None:
    endpoint.answers["GET /v1/models"] = (200, {"data": [MODEL]})
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cluster.cli.app", "models", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(("closed", "code"), [("<&-", 1), (">&-", 0), ("2>&-", 0)])
def test_a_closed_stream_is_no_traceback(endpoint: Endpoint, closed: str, code: int) -> None:
    endpoint.answers["GET /v1/models"] = (200, {"data": [MODEL]})
    words = "chat budgie" if closed == "<&-" else "models list"
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m cluster.cli.app {words} {closed}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
