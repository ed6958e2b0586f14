"""A fine-tune as it is watched: a bar with the loss on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from cluster.cli.connection import Connection
from cluster.cli.output import note, stderr

ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 0.5


def follow(connection: Connection, path: str, *, show: bool) -> dict[str, Any]:
    """Poll the job until it has ended; return it as it is then."""
    seen: set[str] = set()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=stderr, disable=not (show and stderr.is_terminal)) as progress:
        bar = progress.add_task("waiting", total=None, figures="")
        while True:
            job: dict[str, Any] = connection.get(path)
            for event in _new_events(connection, path, seen):
                data = event.get("data") or {}
                if event.get("type") == "metrics" and "step" in data:
                    total = data.get("max_steps") or data.get("total_steps")
                    progress.update(
                        bar, completed=data["step"], total=total, figures=_figures(data)
                    )
                    if show and not stderr.is_terminal:
                        note(f"step {data['step']}/{total or '?'}  {_figures(data)}")
                elif show:
                    note(str(event["message"]))
            progress.update(bar, description=_state(job))
            if job["status"] in ENDED:
                return job
            time.sleep(POLL_SECONDS)


def _new_events(connection: Connection, path: str, seen: set[str]) -> list[dict[str, Any]]:
    """Those that were not there at the last call, oldest first."""
    fresh: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        page = connection.get(f"{path}/events", params=query)
        new = [event for event in page["data"] if event["id"] not in seen]
        fresh += new
        # Newest first: a page with a known event ends what is new.
        if len(new) < len(page["data"]) or not page.get("has_more"):
            break
        query["after"] = page["data"][-1]["id"]
    seen.update(event["id"] for event in fresh)
    return fresh[::-1]


def _state(job: dict[str, Any]) -> str:
    # OpenAI's states are few; the product's own one says more where it is given.
    return str(job.get("state") or job["status"])


def _figures(data: dict[str, Any]) -> str:
    """Loss, speed and time left, as far as they are known."""
    loss = data.get("loss", data.get("train_loss"))
    words = []
    if loss is not None:
        words.append(f"loss {loss:.4f}")
    if (rate := data.get("learning_rate")) is not None:
        words.append(f"lr {rate:.2e}")
    if (speed := data.get("tokens_per_second")) is not None:
        words.append(f"{speed:,.0f} tokens/s")
    if (eta := data.get("eta")) is not None:
        words.append(f"{eta:.0f} s left")
    return "  ".join(words)
