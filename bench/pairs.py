"""Pairs of neighbouring cells: the reference and a candidate, one right after the other.

The speed of a small machine drifts by more than the differences that are of interest, so only
cells that ran next to each other are compared, in alternating order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.job import Job
from bench.quantile import median
from bench.sample import Sample, measure
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


def measured(system: System, cell: Cell, seconds: float) -> Sample:
    """Load one system with one cell."""
    at = system.endpoint
    job = Job(
        at.host, at.port, at.model, at.key, cell.stream, cell.parallel, seconds,
        adapters=at.adapters,
    )  # fmt: skip
    return measure(system, job)


def pair(
    reference: System, candidate: System, cell: Cell, index: int, first: bool, seconds: float
) -> Pair:
    """Measure both systems, the reference first or last."""
    if first:
        one, two = measured(reference, cell, seconds), measured(candidate, cell, seconds)
    else:
        two, one = measured(candidate, cell, seconds), measured(reference, cell, seconds)
    return Pair(candidate.name, cell, index, first, one, two)
