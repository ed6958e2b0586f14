"""Serving, compared: `python -m bench.serving`.

vLLM's own server stays up all the time as the reference; the other systems come one after the
other, each measured in pairs with the reference, so that never more than one system is loaded.
"""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.cpu import rest
from bench.machine import machine, versions
from bench.pairs import Cell, Pair, pair, schedule
from bench.report import REFERENCE, Report, markdown
from bench.stop import Stop
from bench.systems.engine import Engine
from bench.systems.litellm import LOCK, Litellm
from bench.systems.lorikeet import Lorikeet
from bench.systems.ray_serve_llm import RayServeLlm
from bench.systems.system import System
from bench.systems.vllm import Vllm
from bench.verify import verify

ROOT = Path(__file__).resolve().parents[1]
CANDIDATES = ("lorikeet", "ray-serve-llm", "litellm")
CELLS = ",".join(f"{kind}:{many}" for kind in ("stream", "plain") for many in (1, 8, 32, 64))
log = Console(stderr=True, highlight=False)


def candidates(reference: Vllm, engine: Engine, home: Path) -> dict[str, Callable[[], System]]:
    """How each candidate is made; `vllm` is the reference against itself."""
    return {
        "vllm": lambda: reference,
        "lorikeet": lambda: Lorikeet(home / "lorikeet", home, engine.model, limited=True),
        "ray-serve-llm": lambda: RayServeLlm(engine, home),
        "litellm": lambda: Litellm(reference, home),
    }


def run(
    engine: Engine, names: list[str], cells: list[Cell], count: int, seconds: float, home: Path
) -> Report:
    """Measure; what a failing candidate leaves out is named in the report."""
    report = Report(
        date=datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        command=shlex.join(["python", "-m", "bench.serving", *sys.argv[1:]]),
        machine=machine(),
        versions=versions(LOCK),
        settings={
            "seconds": seconds,
            "pairs": count,
            "model": engine.model,
            "engine": {**engine.keywords(), "kv_cache_gib": engine.kv_cache_gib},
        },
        rest={},
        texts_agree={},
        failures={},
        pairs=[],
    )
    with Stop() as stop:
        reference = Vllm(engine, home)
        log.print(f"starting {REFERENCE}")
        stop.later(reference.stop)
        reference.start()
        text = verify(reference.endpoint).text
        report.rest[REFERENCE] = rest(reference.processes(), seconds=3)
        make = candidates(reference, engine, home)
        for name in names:
            try:
                with Stop() as once:
                    candidate = make[name]()
                    if candidate is not reference:
                        log.print(f"starting {name}")
                        once.later(candidate.stop)
                        candidate.start()
                        report.texts_agree[name] = verify(candidate.endpoint).text == text
                        report.rest[name] = rest(candidate.processes(), seconds=3)
                    for index, cell, first in schedule(cells, count):
                        found = pair(reference, candidate, cell, index, first, seconds)
                        report.pairs.append(found)
                        log.print(progress(found, count))
            except (RuntimeError, ValueError, OSError) as error:
                log.print(f"[red]{name}: {error}")
                report.failures[name] = str(error).splitlines()[0]
    return report


def progress(found: Pair, count: int) -> str:
    """One line about a pair."""
    ratio = "-" if found.ratio is None else f"{found.ratio:.2f}"
    errors = {**found.reference.errors, **found.candidate.errors}
    return (
        f"{found.candidate_name} {found.index + 1}/{count} {found.cell}:"
        f" {found.candidate.rate:.1f}/s, vllm {found.reference.rate:.1f}/s, ratio {ratio}"
        + (f", errors {errors}" if errors else "")
    )


def main(
    systems: Annotated[
        str, typer.Option(help=f"Which to compare with vllm, of: {', '.join(CANDIDATES)}.")
    ] = ",".join(CANDIDATES),
    cells: Annotated[str, typer.Option(help="Loads: stream:N and plain:N.")] = CELLS,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of every cell.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a measurement.")] = 10.0,
    control: Annotated[
        bool, typer.Option(help="Also compare vllm with itself: the noise of the ratios.")
    ] = False,
    model: Annotated[Path, typer.Option(help="Folder of the weights.")] = ROOT
    / "train/budgie/weights",
    name: Annotated[str, typer.Option(help="The model's name in requests.")] = "budgie",
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = ROOT / "bench/results",
    quick: Annotated[
        bool, typer.Option(help="A smoke run: one pair of two small cells, 2 s each.")
    ] = False,
) -> None:
    """Compare how fast systems serve the same model on this machine, in neighbouring cells."""
    chosen = [one for one in systems.split(",") if one]
    unknown = [one for one in chosen if one not in CANDIDATES]
    if unknown:
        raise typer.BadParameter(f"--systems: {unknown[0]!r} is none of {', '.join(CANDIDATES)}")
    if control:
        chosen.insert(0, REFERENCE)
    if quick:
        cells, pairs, seconds = "stream:8,plain:8", 1, 2.0
    try:
        loads = [Cell.parse(one) for one in cells.split(",")]
        engine = Engine(model, name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    home = Path(tempfile.mkdtemp(prefix="bench-serving-"))
    try:
        report = run(engine, chosen, loads, pairs, seconds, home)
    except KeyboardInterrupt:
        log.print(f"interrupted; everything is stopped, the logs are in {home}")
        raise typer.Exit(130) from None
    path = report.write(out)
    print(markdown(report))
    if report.failures or report.errors:
        log.print(f"[red]not everything went well: logs in {home}")
        raise typer.Exit(1)
    shutil.rmtree(home, ignore_errors=True)
    log.print(f"written to {path}; again by: python -m bench.table {path}")


if __name__ == "__main__":
    typer.run(main)
