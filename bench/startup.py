"""Start-up, timed: `python -m bench.startup`.

`lorikeet up` writes what its start was spent on to `HOME/run/startup.json`; a cold start has an
empty home folder, a second start the home of the first.
"""

import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.quantile import median
from bench.result import RESULTS, heading, log, recording
from bench.stop import Stop
from bench.systems.lorikeet import Lorikeet

KINDS = ("cold", "second")


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
        noted = home / "run" / "startup.json"
        noted.unlink(missing_ok=True)  # the start before wrote one too
        stop.later(system.stop)
        begun = time.monotonic()
        system.start()
        ready = time.monotonic() - begun
        # It is written a moment after the endpoint is ready.
        system.family.await_ready(noted.is_file, timeout=10)
        total, parts = read(noted)
    return Start(kind, ready, total, parts)


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    starts = [Start(**one) for one in result["starts"]]
    lines = [
        *heading("Start-up", result),
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
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = RESULTS,
) -> None:
    """Time `lorikeet up` by its parts, with an empty home and with the same home again."""
    with recording("startup", sys.argv[1:], out) as (result, folder):
        starts = result["starts"] = []
        for number in range(rounds):
            home = folder / f"home-{number}"
            for kind in KINDS:
                one = measure(home, folder, kind)
                log.print(f"{number + 1}/{rounds} {kind}: ready after {one.ready:.1f} s")
                starts.append(asdict(one))
            shutil.rmtree(home, ignore_errors=True)
    print(markdown(result))


if __name__ == "__main__":
    typer.run(main)
