"""The load generator: `python -m bench.load`, a job as JSON on stdin, a tally on stdout.

It shares the machine with what it measures, so it runs in a process of its own, writes prebuilt
bytes and looks at answers only as far as the counts need it. A line `begin` before the tally says
that the warm-up is over.
"""

import json
import sys
from dataclasses import asdict

import uvloop

from bench.closed_loop import ClosedLoop
from bench.job import Job
from bench.open_loop import OpenLoop


def main() -> None:
    """Read a job from stdin, drive it, write its tally to stdout."""
    job = Job(**json.load(sys.stdin))
    loop = OpenLoop(job) if job.rate else ClosedLoop(job)
    print(json.dumps(asdict(uvloop.run(loop.drive()))), flush=True)


if __name__ == "__main__":
    main()
