"""Serving, compared: `python -m bench.serving`.

vLLM's own server stays up all the time as the reference; the other systems come one after the
other, each measured in pairs with the reference, so that never more than one system is loaded.
"""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from bench import random_model
from bench.cpu import rest
from bench.machine import machine, versions
from bench.pairs import Cell, Pair, pair, schedule
from bench.random_model import BUDGIE
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
CANDIDATES = ("lorikeet", "lorikeet-handle", "ray-serve-llm", "ray-serve-llm-direct", "litellm")
DEFAULT = "lorikeet,ray-serve-llm-direct,litellm"
CELLS = ",".join(f"{kind}:{many}" for kind in ("stream", "plain") for many in (1, 8, 32, 64))
log = Console(stderr=True, highlight=False)


def candidates(reference: Vllm, engine: Engine, home: Path) -> dict[str, Callable[[], System]]:
    """How each candidate is made; `vllm` is the reference against itself."""
    return {
        "vllm": lambda: reference,
        "lorikeet": lambda: lorikeet(engine, home),
        "lorikeet-handle": lambda: lorikeet(engine, home, "handle"),
        "ray-serve-llm": lambda: RayServeLlm(engine, home),
        "ray-serve-llm-direct": lambda: RayServeLlm(engine, home, direct=True),
        "litellm": lambda: Litellm(reference, home),
    }


def lorikeet(engine: Engine, home: Path, transport: str = "socket") -> Lorikeet:
    """Lorikeet with limits on; its router reaches the model by its sockets or by Serve's handle."""
    own = engine.weights.resolve() == BUDGIE.resolve() and engine.model == "budgie"
    made = Lorikeet(
        home / f"lorikeet-{transport}",
        home,
        engine.model,
        limited=True,
        config=None if own else configured(engine, home),
        adapters=engine.adapters,
        variables={"LORIKEET_TRANSPORT": transport},
    )
    made.name = "lorikeet" if transport == "socket" else f"lorikeet-{transport}"
    return made


def configured(engine: Engine, home: Path) -> Path:
    """The product's own configuration with another model in the place of budgie."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    (application,) = (one for one in config["applications"] if one["name"] == "budgie")
    application["name"] = application["args"]["name"] = engine.model
    application["args"]["source"] = str(engine.weights.resolve())
    path = home / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def weights(model: str, name: str, adapters: int) -> Engine:
    """The engine of `--model`: a folder, or `random-80m`, which is made."""
    folder = random_model.model() if model == random_model.NAME else Path(model)
    shown = random_model.NAME if model == random_model.NAME and name == "budgie" else name
    engine = Engine(folder, shown)
    return replace(engine, adapters=tuple(random_model.adapters(folder, adapters)))


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
            "adapters": len(engine.adapters),
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
    ] = DEFAULT,
    cells: Annotated[str, typer.Option(help="Loads: stream:N and plain:N.")] = CELLS,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of every cell.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a measurement.")] = 10.0,
    control: Annotated[
        bool, typer.Option(help="Also compare vllm with itself: the noise of the ratios.")
    ] = False,
    model: Annotated[
        str, typer.Option(help=f"Folder of the weights, or {random_model.NAME}, which is made.")
    ] = str(BUDGIE),
    name: Annotated[str, typer.Option(help="The model's name in requests.")] = "budgie",
    adapters: Annotated[
        int, typer.Option(min=0, max=4, help="LoRA adapters; requests go to all models by turns.")
    ] = 0,
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
    if adapters and (alone := [one for one in chosen if not one.startswith("lorikeet")]):
        raise typer.BadParameter(f"--adapters: {alone[0]} is not compared with adapters")
    if control:
        chosen.insert(0, REFERENCE)
    if quick:
        cells, pairs, seconds = "stream:8,plain:8", 1, 2.0
    try:
        loads = [Cell.parse(one) for one in cells.split(",")]
        engine = weights(model, name, adapters)
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
