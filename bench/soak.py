"""Mixed traffic for ten minutes: `python -m bench.soak`. Memory must stay flat.

The product runs as a user runs it. Streams, plain answers, aliases, callers who leave, mistakes and
embeddings come from several callers at once, each checked; meanwhile the memory of each process is
read every few seconds.
"""

import asyncio
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.memory import Curve, Reading, curves, read
from bench.result import RESULTS, heading, log, recording
from bench.stop import Stop
from bench.systems.lorikeet import Lorikeet
from bench.traffic import Traffic

EVERY_S = 5.0
WARM = 0.3
"""The share of the time after which caches and pools are as full as they get."""


async def soak(product: Lorikeet, callers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Load the product and watch it."""
    traffic = Traffic(product.endpoint, callers, seed)
    await traffic.prepare()
    processes = await asyncio.to_thread(product.processes)
    began = time.monotonic()
    readings: list[Reading] = []
    load = asyncio.create_task(traffic.run(seconds))
    while not load.done():
        readings.append(await asyncio.to_thread(read, processes, began))
        await asyncio.wait({load}, timeout=EVERY_S)
    await load
    left = await still_running(traffic)
    await traffic.close()
    return {
        "made": dict(traffic.made),
        "wrong": dict(traffic.wrong),
        "left": left,
        "readings": [asdict(one) for one in readings],
    }


async def still_running(traffic: Traffic, patience: float = 15.0) -> int:
    """Requests that are in the engines after all callers have gone; none should be."""
    end = time.monotonic() + patience
    while True:
        status = (await traffic.http.get("/status")).raise_for_status().json()
        left = sum(one["running"] + one["waiting"] for one in status["replicas"])
        if not left or time.monotonic() > end:
            return int(left)
        await asyncio.sleep(0.5)


def found(result: dict[str, Any]) -> list[Curve]:
    """The curves of a result."""
    readings = [Reading(**one) for one in result["readings"]]
    return curves(readings, WARM * readings[-1].at)


def faults(result: dict[str, Any]) -> list[str]:
    """Why the product did not pass."""
    told = [f"{many} x {wrong}" for wrong, many in result["wrong"].items()]
    if result["left"]:
        told.append(f"{result['left']} requests stay in the engines though all callers have gone")
    router = [one for one in found(result) if one.role == "router"]
    if not router:
        told.append("no router was seen")
    told += [
        f"the router grew by {one.last - one.first:.1f} MiB after its warm-up,"
        f" more than {result['bound']:g}"
        for one in router
        if one.last - one.first > result["bound"]
    ]
    return told


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    made = sum(result["made"].values())
    lines = [
        *heading("Soak", result),
        f"- {made:,} requests in {result['seconds']:g} s from {result['callers']} callers: "
        + ", ".join(f"{many:,} {name}" for name, many in sorted(result["made"].items())),
        "",
        f"| process | MiB (PSS) after {WARM:.0%} of the time | at the end | most | MiB an hour |",
        "|---|---|---|---|---|",
        *(
            f"| {one.role} | {one.first:.1f} | {one.last:.1f} | {one.most:.1f} | {one.slope:+.1f} |"
            for one in found(result)
        ),
        "",
        *(f"- {fault}" for fault in faults(result) or ["Every answer was as it should be."]),
    ]
    return "\n".join(lines)


def main(
    seconds: Annotated[float, typer.Option(min=30, help="How long.")] = 600.0,
    callers: Annotated[int, typer.Option(min=1, help="Callers at once.")] = 8,
    bound: Annotated[float, typer.Option(help="MiB by which the router may grow.")] = 8.0,
    seed: Annotated[int, typer.Option(help="Of the callers' choices.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = RESULTS,
) -> None:
    """Load the product with all sorts of requests and see whether its memory stays flat."""
    with recording("soak", sys.argv[1:], out) as (result, folder), Stop() as stop:
        product = Lorikeet(folder / "home", folder, limited=True)
        log.print("starting lorikeet")
        stop.later(product.stop)
        product.start()
        log.print(f"loading it for {seconds:g} s")
        result |= {"seconds": seconds, "callers": callers, "bound": bound}
        result |= asyncio.run(soak(product, callers, seconds, seed))
    print(markdown(result))
    if faults(result):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
