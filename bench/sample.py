"""One load on one system: what it did, and which processes' CPU went into it."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field

import psutil

from bench.cpu import Clock, read, shares
from bench.job import Job
from bench.systems.system import System


@dataclass(frozen=True)
class Sample:
    """What one system did under one load. Times are milliseconds: p50, p99."""

    requests: int
    rate: float
    ttft: list[float]
    latency: list[float]
    events: float
    errors: dict[str, int]
    cpu: dict[str, float]
    late: list[float] = field(default_factory=list)


def measure(system: System, job: Job) -> Sample:
    """Load one system with one job."""
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
