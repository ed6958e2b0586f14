"""Where words go: data to stdout, everything else to stderr; JSON where it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """An error: its first line after the program's name, the rest (a log's end) below it."""
    first, _, rest = message.strip().partition("\n")
    stderr.print(f"lorikeet: {first}", style="bold red", markup=False)
    if rest:
        stderr.print(rest, markup=False)


def say(message: str) -> None:
    stdout.print(message, markup=False)


def note(message: str) -> None:
    """Something for the person, which a pipe does not want."""
    stderr.print(message, markup=False)


def print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201 - no wrapping, no markup


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else _plain(str(cell)) for cell in row))
    stdout.print(table)


def moment(seconds: float | None) -> str | None:
    """A unix time as the reader's clock shows it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _plain(text: str) -> str:
    # A tenant chose these names: no markup, no control sequences.
    return re.sub(r"[\x00-\x1f\x7f]", "?", text).replace("[", r"\[")
