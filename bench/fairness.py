"""Does one tenant's flood slow another down? `python -m bench.fairness`.

Tenant B streams one answer after the other, `--callers` at a time, and is measured. Tenant A loads
the same model in one of two ways:

- at its fair share: as many requests at a time as the engine runs at once, less those of B. The
  engine is full and nobody waits: what A would have if places were dealt out by need (max-min);
- flooding: ten times as many.

The ratio is B's p95 with the flood over its p95 with the fair share, of neighbouring cells in
alternating order; of the ratios of all pairs the median counts. The bar is 1.5, for the whole
answer. That the engine is full is A's good right in both: what is judged is what the flood adds.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from bench.chat import Endpoint
from bench.job import Job
from bench.quantile import median, quantile
from bench.result import RESULTS, heading, log, recording
from bench.steady import steady
from bench.stop import Stop
from bench.systems.lorikeet import Lorikeet
from bench.tenants import tenant
from cluster.embedded.serve_config import default_config

BAR = 1.5
FLOOD = 10
LONG = 3600.0
"""Seconds for which A goes on, unless it is stopped."""


@dataclass(frozen=True)
class Cell:
    """B's times in milliseconds (p50, p95) while A sent so many requests at a time."""

    others: int
    requests: int
    ttft: tuple[float, float]
    latency: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    fair: Cell
    flood: Cell

    @property
    def latency_ratio(self) -> float:
        return self.flood.latency[1] / self.fair.latency[1]

    @property
    def ttft_ratio(self) -> float:
        return self.flood.ttft[1] / self.fair.ttft[1]


@contextmanager
def load(endpoint: Endpoint, parallel: int) -> Iterator[None]:
    """So many callers of plain answers, all of whom have had one when the block begins."""
    at = endpoint
    job = Job(at.host, at.port, at.model, at.key, False, parallel, LONG, warmup=1)
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asdict(job)))
            process.stdin.close()
            if process.stdout.readline().strip() != "begin":
                raise RuntimeError("the load generator did not begin")
            yield
            if process.poll() is not None:
                raise RuntimeError("the load generator ended")
        finally:
            process.kill()


def measure(a: Endpoint, b: Endpoint, others: int, callers: int, seconds: float) -> Cell:
    with load(a, others):
        times = asyncio.run(steady(b, callers, seconds))
    if not times.latency:
        raise RuntimeError(f"no answer of B within {seconds:g} s")
    ttft, latency = (
        (quantile(all_times, 0.5), quantile(all_times, 0.95))
        for all_times in (times.ttft, times.latency)
    )
    return Cell(others, len(times.latency), ttft, latency)


def narrowed(path: Path, at_once: int) -> Path:
    """The product's configuration, with an engine that runs so many requests at once."""
    config = yaml.safe_load(default_config().read_text())
    (model,) = [one for one in config["applications"] if one["name"] == "budgie"]
    model["args"]["engine"]["max_num_seqs"] = at_once
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def pairs(
    system: Lorikeet, at_once: int, callers: int, count: int, seconds: float
) -> Iterator[Pair]:
    a, b = (tenant(system.home, system.endpoint, slug) for slug in ("tenant-a", "tenant-b"))
    fair = at_once - callers
    for index in range(count):
        order = (fair, FLOOD * fair) if index % 2 == 0 else (FLOOD * fair, fair)
        cells = {others: measure(a, b, others, callers, seconds) for others in order}
        yield Pair(cells[fair], cells[FLOOD * fair])


def markdown(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    found = [Pair(*(_cell(one[kind]) for kind in ("fair", "flood"))) for one in result["pairs"]]
    lines = [
        *heading("Fairness between tenants", result),
        f"- Engine: {result['at_once']} requests at once; B: {result['callers']} streams at a time;"
        f" {len(found)} pairs of {result['seconds']:g} s; medians, times in ms",
        "",
        "| A's requests at a time | B's requests | TTFT p50 | p95 | latency p50 | p95 |",
        "|---|---|---|---|---|---|",
    ]
    for cells in ([pair.fair for pair in found], [pair.flood for pair in found]):
        columns = [
            median([times[place] for times in of_cells])
            for of_cells in ([cell.ttft for cell in cells], [cell.latency for cell in cells])
            for place in (0, 1)
        ]
        shown = " | ".join(f"{one:.0f}" for one in columns)
        lines.append(f"| {cells[0].others} | {sum(cell.requests for cell in cells)} | {shown} |")
    lines.append("")
    for name, ratios in (
        ("latency", [pair.latency_ratio for pair in found]),
        ("TTFT", [pair.ttft_ratio for pair in found]),
    ):
        lines.append(
            f"p95 of {name}, flood over fair share: {median(ratios):.2f}"
            f" [{min(ratios):.2f} to {max(ratios):.2f}]"
            + (f"; the bar is {BAR}" if name == "latency" else "")
        )
        lines.append("")
    return "\n".join(lines).rstrip()


def _cell(read: dict[str, Any]) -> Cell:
    return Cell(read["others"], read["requests"], tuple(read["ttft"]), tuple(read["latency"]))


def main(
    count: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of cells.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of one cell.")] = 15.0,
    at_once: Annotated[int, typer.Option(min=2, help="Requests that the engine runs.")] = 16,
    callers: Annotated[int, typer.Option(min=1, help="B's requests at a time.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = RESULTS,
) -> None:
    """Measure one tenant while another is at its fair share, and while it floods."""
    if callers >= at_once:
        raise typer.BadParameter(f"--callers is {callers}: it must be under {at_once}.")
    with recording("fairness", sys.argv[1:], out) as (result, folder), Stop() as stop:
        result |= {"at_once": at_once, "callers": callers, "seconds": seconds}
        system = Lorikeet(
            folder / "home", folder, config=narrowed(folder / "serve_config.yaml", at_once)
        )
        stop.later(system.stop)
        system.start()
        measured = result["pairs"] = []
        for pair in pairs(system, at_once, callers, count, seconds):
            log.print(f"{len(measured) + 1}/{count}: {pair.latency_ratio:.2f}")
            measured.append(asdict(pair))
    print(markdown(result))
    if median([Pair(*map(_cell, one.values())).latency_ratio for one in measured]) > BAR:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
