"""The router alone: `python -m bench.router`.

The product with a fake engine of known pace in the place of a model (`bench/router.yaml`). The same
load goes to the engine itself and through HAProxy and the router, in neighbouring cells: what is
between the two is what the router adds.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
import yaml

from bench.chat import Endpoint
from bench.job import Job
from bench.paced.deployment import MODEL
from bench.pairs import Spread, spread
from bench.quantile import median
from bench.result import RESULTS, heading, log, recording
from bench.sample import Sample, measure
from bench.stop import Stop
from bench.systems.family import free_port
from bench.systems.lorikeet import Lorikeet
from bench.systems.system import System
from bench.verify import verify
from cluster.settings import TransportKind

CONFIG = Path(__file__).with_name("router.yaml")
TOKENS_PER_SECOND = 20_000
"""Of the engine at every rate: the more requests come, the shorter are their answers."""
RATES = "100,300,1000"


class Direct:
    """The fake engine without a router before it."""

    name = "engine"

    def __init__(self, product: Lorikeet, port: int) -> None:
        self.product = product
        self.endpoint = Endpoint("127.0.0.1", port, MODEL)

    def start(self) -> None:
        """It runs with the product."""

    def stop(self) -> None:
        """It ends with the product."""

    def processes(self) -> list[psutil.Process]:
        """All of the product's: what it does at rest is seen."""
        return self.product.processes()


def configuration(folder: Path, port: int) -> Path:
    """`bench/router.yaml` with this port of the engine."""
    config = yaml.safe_load(CONFIG.read_text())
    config["applications"][0]["args"]["port"] = port
    path = folder / CONFIG.name
    path.write_text(yaml.safe_dump(config))
    return path


def cell(system: System, rate: float, stream: bool, seconds: float) -> Sample:
    """One system at one rate."""
    at = system.endpoint
    tokens = max(1, round(TOKENS_PER_SECOND / rate))
    return measure(
        system,
        Job(at.host, at.port, at.model, at.key, stream, 0, seconds, rate=rate, tokens=tokens),
    )


def run(
    result: dict[str, Any],
    folder: Path,
    rates: list[float],
    pairs: int,
    seconds: float,
    transport: TransportKind,
) -> None:
    """Measure into `result`."""
    port = free_port()
    with Stop() as stop:
        product = Lorikeet(
            folder / "home",
            folder,
            MODEL,
            limited=True,
            config=configuration(folder, port),
            variables={"LORIKEET_TRANSPORT": transport.value},
        )
        direct = Direct(product, port)
        log.print("starting the router")
        stop.later(product.stop)
        product.start()
        verify(direct.endpoint)
        verify(product.endpoint)
        for index in range(pairs):
            for place, (rate, stream) in enumerate((r, s) for r in rates for s in (True, False)):
                order: list[System] = [direct, product]
                if (index + place) % 2:
                    order.reverse()
                found = {one.name: cell(one, rate, stream, seconds) for one in order}
                result["pairs"].append(
                    {
                        "rate": rate,
                        "stream": stream,
                        "engine": asdict(found[direct.name]),
                        "router": asdict(found[product.name]),
                    }
                )
                log.print(progress(result["pairs"][-1]))


def progress(pair: dict[str, Any]) -> str:
    """One line about a pair."""
    kind = "stream" if pair["stream"] else "plain"
    more = added(pair, "latency", 1)
    return (
        f"{kind} {pair['rate']:g}/s: {pair['router']['rate']:.0f}/s, added p99"
        f" {'-' if more is None else f'{more:+.1f}'} ms, errors {pair['router']['errors']}"
    )


def added(pair: dict[str, Any], what: str, place: int) -> float | None:
    """Milliseconds that the router adds to a percentile."""
    with_it, without = pair["router"][what], pair["engine"][what]
    return float(with_it[place] - without[place]) if with_it and without else None


def cost(pair: dict[str, Any], role: str) -> float:
    """Milliseconds of CPU that the processes of a role spend on a request."""
    sample = pair["router"]
    return 1000 * float(sample["cpu"].get(role, 0.0)) / sample["rate"] if sample["rate"] else 0.0


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    lines = [
        *heading("The router alone", result),
        f"- Load: constant arrivals, {TOKENS_PER_SECOND:,} tokens/s in all in 10 ms chunks, answers"
        f" take 100 ms; {result['seconds']:g} s a cell; keys, limits and usage on;"
        f" transport: {result['transport']}.",
        "- Load generator, engine, HAProxy, router and Redis share the machine's cores.",
        "",
        "| load | answered/s | added TTFT p50 ms | added TTFT p99 | added total p50"
        " | added total p99 | router CPU ms/request | requests/s per core | HAProxy CPU ms"
        " | load late p99 ms | errors |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[tuple[bool, float], list[dict[str, Any]]] = {}
    for pair in result["pairs"]:
        cells.setdefault((pair["stream"], pair["rate"]), []).append(pair)
    for (stream, rate), pairs in sorted(cells.items(), key=lambda one: (not one[0][0], one[0][1])):
        spent = median([cost(pair, "router") for pair in pairs])
        ttft, total = (
            [_shown(spread([added(one, what, place) for one in pairs])) for place in (0, 1)]
            for what in ("ttft", "latency")
        )
        errors = sum(sum(one["router"]["errors"].values()) for one in pairs)
        lines.append(
            f"| {'stream' if stream else 'plain'}, {rate:g}/s"
            f" | {median([one['router']['rate'] for one in pairs]):.0f}"
            f" | {ttft[0] if stream else '-'} | {ttft[1] if stream else '-'}"
            f" | {total[0]} | {total[1]} | {spent:.2f}"
            f" | {1000 / spent if spent else 0:.0f}"
            f" | {median([cost(one, 'proxy') for one in pairs]):.2f}"
            f" | {median([one['router']['late'][1] for one in pairs if one['router']['late']]):.1f}"
            f" | {errors} |"
        )
    return "\n".join(lines)


def _shown(one: Spread | None) -> str:
    return "-" if one is None else f"{one.median:+.1f} [{one.low:+.1f} to {one.high:+.1f}]"


def main(
    rates: Annotated[str, typer.Option(help="Requests a second.")] = RATES,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of every cell.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a measurement.")] = 10.0,
    transport: Annotated[
        TransportKind, typer.Option(help="The router's way to the engine.")
    ] = TransportKind.SOCKET,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = RESULTS,
) -> None:
    """Measure what the router adds to an engine, and what it costs."""
    try:
        chosen = [float(one) for one in rates.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--rates: {rates!r} is no list of numbers") from None
    if min(chosen) <= 0:
        raise typer.BadParameter("--rates: a rate must be above 0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with recording("router", sys.argv[1:], out) as (result, folder):
        result |= {"seconds": seconds, "transport": transport.value, "pairs": []}
        run(result, folder, chosen, pairs, seconds, transport)
    print(markdown(result))


if __name__ == "__main__":
    typer.run(main)
