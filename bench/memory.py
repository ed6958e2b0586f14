"""The memory of a system's processes by what they do, over time."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.cpu import role


@dataclass(frozen=True)
class Reading:
    """Proportional memory (PSS) in MiB by role, so many seconds after the start."""

    at: float
    pss: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """What became of one role's memory once it was warm. MiB."""

    role: str
    first: float
    last: float
    most: float
    slope: float
    """MiB an hour, by least squares."""


def read(processes: Iterable[psutil.Process], began: float) -> Reading:
    """Read what there is now; processes that have gone are left out."""
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        try:
            name = role(" ".join(process.cmdline()))
            found[name] += _pss(process.pid)
        except (psutil.Error, OSError):
            continue
    return Reading(time.monotonic() - began, dict(found))


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/smaps_rollup names no Pss")


def curves(readings: Sequence[Reading], warm: float) -> list[Curve]:
    """Each role after `warm` seconds, the largest first."""
    late = [one for one in readings if one.at >= warm]
    if len(late) < 2:
        raise ValueError(f"fewer than two readings after {warm:g} s of warm-up")
    made = []
    for name in {name for one in late for name in one.pss}:
        points = [(one.at, one.pss[name]) for one in late if name in one.pss]
        values = [value for _, value in points]
        slope = 3600 * _slope(points)
        made.append(Curve(name, values[0], values[-1], max(values), slope))
    return sorted(made, key=lambda one: -one.last)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
