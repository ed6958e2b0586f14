"""The start as it is watched: one line a part, with its seconds."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cluster.cli.output import stderr
from cluster.embedded.record import Part, ProductRecord

TITLES = {
    "ray": "Ray",
    "stores": "Stores",
    "serve": "Ray Serve",
    "ready": "Endpoint",
}


class StartupDisplay:
    """Redraws itself on a terminal; elsewhere each part is a line once it is done."""

    def __init__(self, record: Callable[[], ProductRecord | None]) -> None:
        self._record = record
        self._spinner = Spinner("dots")
        self._live = Live(self, console=stderr, refresh_per_second=8, transient=False)
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        if stderr.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tell()
        if stderr.is_terminal:
            self._live.stop()

    def tell(self) -> None:
        """Where nothing can be redrawn: print the parts that were done since the last call."""
        if stderr.is_terminal:
            return
        for part in self._parts():
            if part.seconds is not None and part.part not in self._told:
                self._told.add(part.part)
                stderr.print(f"{_title(part):<24} {part.seconds:6.1f} s")

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for part in self._parts():
            done = part.seconds is not None
            table.add_row(
                Text("✔", style="green") if done else self._spinner,
                _title(part),
                f"{part.elapsed:.1f} s",
                Text(part.detail, style="dim"),
            )
        return table

    def _parts(self) -> list[Part]:
        record = self._record()
        return list(record.parts) if record else []


def _title(part: Part) -> str:
    return TITLES.get(part.part, part.part)
