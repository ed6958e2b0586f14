"""Pairs of neighbouring cells: the reference and a candidate, one right after the other.

The speed of a small machine drifts by more than the differences that are of interest, so only
cells that ran next to each other are compared, in alternating order.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import psutil

from bench.cpu import Clock, read, shares
from bench.load import Job
from bench.quantile import median
from bench.systems.system import System


@dataclass(frozen=True)
class Cell:
    """One load: streaming or not, so many requests at a time."""

    stream: bool
    parallel: int

    def __str__(self) -> str:
        return f"{'stream' if self.stream else 'plain'}:{self.parallel}"

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """Read what `str` writes."""
        kind, _, parallel = text.partition(":")
        if kind not in ("stream", "plain") or not parallel.isdigit() or int(parallel) < 1:
            raise ValueError(f"cell {text!r}: expected stream:N or plain:N, N at least 1")
        return cls(kind == "stream", int(parallel))


@dataclass(frozen=True)
class Sample:
    """What one system did in one cell. Times are milliseconds: p50, p99."""

    requests: int
    rate: float
    ttft: list[float]
    latency: list[float]
    events: float
    errors: dict[str, int]
    cpu: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """Two neighbouring samples of one cell."""

    candidate_name: str
    cell: Cell
    index: int
    reference_first: bool
    reference: Sample
    candidate: Sample

    @property
    def ratio(self) -> float | None:
        """The candidate's requests a second over the reference's; None if one served none."""
        if not self.reference.rate or not self.candidate.rate:
            return None
        return self.candidate.rate / self.reference.rate

    @property
    def added_ttft(self) -> float | None:
        """How much later the candidate's first token comes, at the median."""
        if not self.reference.ttft or not self.candidate.ttft:
            return None
        return self.candidate.ttft[0] - self.reference.ttft[0]


@dataclass(frozen=True)
class Spread:
    """A median with the range it comes from."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """The spread of those values that are known."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known)) if known else None


def schedule(cells: Sequence[Cell], count: int) -> Iterator[tuple[int, Cell, bool]]:
    """Every cell once a round, `count` rounds; the order within a pair alternates both ways."""
    for index in range(count):
        for place, cell in enumerate(cells):
            yield index, cell, (index + place) % 2 == 0


def measure(system: System, cell: Cell, seconds: float) -> Sample:
    """Load one system with one cell."""
    at = system.endpoint
    job = Job(at.host, at.port, at.model, at.key, cell.stream, cell.parallel, seconds)
    processes = system.processes()
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as load:
        try:
            assert load.stdin is not None
            assert load.stdout is not None
            watched = [*processes, psutil.Process(load.pid)]
            load.stdin.write(json.dumps(asdict(job)))
            load.stdin.close()
            before: Clock | None = None
            line = ""
            for line in load.stdout:
                if line.strip() == "begin":
                    before = read(watched)
                else:
                    break
            cpu = shares(before, read(watched)) if before is not None else {}
            if not line.startswith("{"):
                raise RuntimeError(f"the load generator ended with {load.wait(10)} and no tally")
            return Sample(**json.loads(line), cpu=cpu)
        finally:
            load.kill()


def pair(
    reference: System, candidate: System, cell: Cell, index: int, first: bool, seconds: float
) -> Pair:
    """Measure both systems, the reference first or last."""
    if first:
        one, two = measure(reference, cell, seconds), measure(candidate, cell, seconds)
    else:
        two, one = measure(candidate, cell, seconds), measure(reference, cell, seconds)
    return Pair(candidate.name, cell, index, first, one, two)
