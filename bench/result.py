"""A benchmark's result: with what it was run, what it measured; JSON to keep, Markdown to show."""

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results"
log = Console(stderr=True, highlight=False)


@contextmanager
def recording(kind: str, words: list[str], out: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """A result to fill and a folder to work in; the result is written below `out` at the end.

    The folder, with its logs, goes at the end and stays where the benchmark does not come to one.
    `words` are the command's arguments as they may be shown.
    """
    now = datetime.now()
    result: dict[str, Any] = {
        "kind": kind,
        "date": now.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(["python", "-m", f"bench.{kind}", *words]),
        "machine": machine(),
        "versions": versions(),
    }
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-"))
    try:
        yield result, folder
    except KeyboardInterrupt:
        log.print(f"interrupted; everything is stopped, the logs are in {folder}")
        raise typer.Exit(130) from None
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{kind}-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)


def heading(title: str, result: dict[str, Any]) -> list[str]:
    """The first lines of a result's Markdown: when, how and on what."""
    where = result["machine"]
    return [
        f"### {title}, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        f"- Machine: {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB",
        "- Versions: " + ", ".join(f"{name} {one}" for name, one in result["versions"].items()),
    ]
