"""`lorikeet down`: stop the product of a home, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.home import settings_of
from cluster.cli.options import Home, Json
from cluster.cli.output import note, print_json
from cluster.embedded.instance import sweep
from cluster.embedded.record import ProductRecord, is_running
from cluster.errors import Unavailable


def down(
    home: Home = None,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds for requests to end, then it is killed.")
    ] = 120.0,
    as_json: Json = False,
) -> None:
    """Stop what `lorikeet up` started on this home. Exit code 0 also if nothing runs."""
    here = settings_of(home).home
    record = ProductRecord.load(here)
    running = is_running(here)
    if running and record is not None:
        _end(record.pid, here, timeout)
    if is_running(here):
        raise Unavailable(f"Lorikeet on {here} does not stop.")
    swept = 0
    if record is not None:
        # One that was killed, now or earlier, left processes behind.
        swept = sweep(record.instance)
        ProductRecord.remove(here)
    stopped = running or swept > 0
    if as_json:
        print_json({"home": str(here), "stopped": stopped})
    else:
        note("Stopped." if stopped else f"Nothing runs on {here}.")


def _end(pid: int, home: Path, timeout: float) -> None:
    """Ask the process that holds the home to stop; kill it if it takes too long."""
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while is_running(home) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not is_running(home):
            return
