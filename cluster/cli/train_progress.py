"""A fine-tune as it is watched: a bar with the loss on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from cluster.cli.connection import PAGE, Answer, Connection, RequestFailed
from cluster.cli.output import note, stderr

ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 0.5
PATIENCE = 60.0
"""Seconds for which an endpoint that does not answer is asked again: a job outlives its router."""


def follow(connection: Connection, path: str) -> Answer:
    """Poll the job until it has ended; return it as it is then."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    told: str | None = None
    heard = time.monotonic()
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("waiting", total=None, figures="")
        while True:
            try:
                job = connection.get(path)
                fresh = _events_after(connection, path, told)
            except RequestFailed as error:
                if not error.passing or time.monotonic() - heard > PATIENCE:
                    raise
                progress.update(bar, description="no answer")
            else:
                heard = time.monotonic()
                for event in fresh:
                    _tell(progress, event)
                    told = event["id"]
                progress.update(bar, description=str(job["status"]))
                if job["status"] in ENDED:
                    return job
            time.sleep(POLL_SECONDS)


def _events_after(connection: Connection, path: str, told: str | None) -> list[Answer]:
    """Those that were not there at the last call, oldest first."""
    fresh: list[Answer] = []
    more = True
    while more:
        after = {} if told is None else {"after": told}
        found, more = connection.page(f"{path}/events", limit=PAGE, order="asc", **after)
        fresh += found
        if found:
            told = found[-1]["id"]
    return fresh


def _tell(progress: Progress, event: Answer) -> None:
    data = event.get("data") or {}
    if event.get("type") != "metrics" or "step" not in data:
        note(str(event["message"]))
        return
    step, total = data["step"], data.get("max_steps")
    for bar in progress.task_ids:
        progress.update(bar, completed=step, total=total, figures=_figures(data))
    if not stderr.is_terminal:
        note(f"step {step}/{total or '?'}  {_figures(data)}")


def _figures(data: dict[str, Any]) -> str:
    """Loss, speed and time left, as far as they are known."""
    shown = {
        "train_loss": "loss {:.4f}",
        "learning_rate": "lr {:.2e}",
        "tokens_per_second": "{:,.0f} tokens/s",
        "eta": "{:.0f} s left",
    }
    return "  ".join(
        form.format(data[name]) for name, form in shown.items() if data.get(name) is not None
    )
