"""Start-up, timed: `python -m bench.startup`.

`lorikeet up` writes what its start was spent on to `HOME/run/startup.json`; a cold start has an
empty home folder, a second start the home of the first.
"""

import json
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.machine import machine, versions
from bench.quantile import median
from bench.stop import Stop
from bench.systems.lorikeet import Lorikeet

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("cold", "second")
log = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Start:
    """One start; seconds. `ready` is what a user waits, measured from outside."""

    kind: str
    ready: float
    total: float
    parts: dict[str, float]


def read(path: Path) -> tuple[float, dict[str, float]]:
    """The total and the parts that `lorikeet up` noted; parts overlap, so they add up to more."""
    parts = {one["part"]: float(one["seconds"]) for one in json.loads(path.read_text())}
    return parts.pop("total"), parts


def measure(home: Path, logs: Path, kind: str) -> Start:
    """Start, note, stop."""
    with Stop() as stop:
        system = Lorikeet(home, logs)
        stop.later(system.stop)
        begun = time.monotonic()
        system.start()
        ready = time.monotonic() - begun
        total, parts = read(home / "run" / "startup.json")
    return Start(kind, ready, total, parts)


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    starts = [Start(**one) for one in result["starts"]]
    where = result["machine"]
    lines = [
        f"### Start-up, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        f"- Machine: {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB",
        "- Versions: " + ", ".join(f"{name} {one}" for name, one in result["versions"].items()),
        f"- {len(starts) // len(KINDS)} rounds; medians [lowest to highest] in seconds;"
        " parts overlap",
        "",
        "| part | cold | second |",
        "|---|---|---|",
    ]
    names = list(dict.fromkeys(part for start in starts for part in start.parts))
    table = [(name, [start.parts.get(name, 0.0) for start in starts]) for name in names]
    table.append(("total, by `lorikeet up`", [start.total for start in starts]))
    table.append(("until /readyz, from outside", [start.ready for start in starts]))
    for name, taken in table:
        cells = []
        for kind in KINDS:
            own = [one for start, one in zip(starts, taken, strict=True) if start.kind == kind]
            cells.append(f"{median(own):.2f} [{min(own):.2f} to {max(own):.2f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    rounds: Annotated[int, typer.Option("--rounds", "-n", min=1, help="Rounds of two.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = ROOT / "bench/results",
) -> None:
    """Time `lorikeet up` by its parts, with an empty home and with the same home again."""
    now = datetime.now()
    result: dict[str, Any] = {
        "kind": "startup",
        "date": now.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(["python", "-m", "bench.startup", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "starts": [],
    }
    folder = Path(tempfile.mkdtemp(prefix="bench-startup-"))
    try:
        for number in range(rounds):
            home = folder / f"home-{number}"
            for kind in KINDS:
                one = measure(home, folder, kind)
                log.print(f"{number + 1}/{rounds} {kind}: ready after {one.ready:.1f} s")
                result["starts"].append(asdict(one))
            shutil.rmtree(home, ignore_errors=True)
    except KeyboardInterrupt:
        log.print(f"interrupted; everything is stopped, the logs are in {folder}")
        raise typer.Exit(130) from None
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"startup-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    print(markdown(result))


if __name__ == "__main__":
    typer.run(main)
