"""Rows as a table: each column a title, and a field or what is made of the row."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.cli.output import PLAIN, say, stdout, visible

Row = Mapping[str, Any]
Cell = str | Callable[[Row], Any]
WIDE = 10_000
"""Columns of what is no terminal: a pipe wants a row on one line, however long."""


def table(columns: Mapping[str, Cell]) -> Callable[[Iterable[Row]], None]:
    """What prints rows under these columns. A field that a row lacks is a dash."""

    def show(rows: Iterable[Row]) -> None:
        _print(columns, ([_value(row, cell) for cell in columns.values()] for row in rows))

    return show


def print_fields(row: Row) -> None:
    """One row, a line a field, without the fields that are empty."""
    filled = {name: value for name, value in row.items() if value not in (None, [], {})}
    _print(("FIELD", "VALUE"), filled.items())


def moment(field: str) -> Callable[[Row], str | None]:
    """The unix time in a field, as the reader's clock shows it."""

    def cell(row: Row) -> str | None:
        seconds = row.get(field)
        if seconds is None:
            return None
        at = datetime.fromtimestamp(seconds, UTC)
        with contextlib.suppress(OverflowError):  # the last day there is has no morrow in the east
            at = at.astimezone()
        return at.strftime("%Y-%m-%d %H:%M:%S")

    return cell


def size(field: str) -> Callable[[Row], str]:
    """The bytes in a field, in the unit that suits them."""

    def cell(row: Row) -> str:
        value = float(row.get(field) or 0)
        for unit in ("B", "KiB", "MiB"):
            if value < 1024:
                return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
            value /= 1024
        return f"{value:.1f} GiB"

    return cell


def _value(row: Row, cell: Cell) -> Any:
    return row.get(cell) if isinstance(cell, str) else cell(row)


def _text(value: Any) -> str:
    return "-" if value is None else visible(str(value)).replace("\n", " ")


def _print(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        grid.add_column(title, overflow="fold")
    for row in rows:
        grid.add_row(*map(_text, row))
    if stdout.is_terminal:
        stdout.print(grid)
        return
    text = io.StringIO()
    Console(file=text, width=WIDE, **PLAIN).print(grid)
    for line in text.getvalue().splitlines():
        say(line.rstrip())
