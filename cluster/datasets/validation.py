"""The judgement of a whole training file, line by line, and its rows for the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from cluster.datasets.lines import Line, lines
from cluster.datasets.measure import Lengths, Measure
from cluster.datasets.problem import Faulty, Problem
from cluster.datasets.reading import BOM, read_row
from cluster.datasets.rows import Row, Shape

SHOWN_PROBLEMS = 100
REMEMBERED_ROWS = 250_000
"""Duplicates are looked for among so many distinct rows: about 20 MB of memory."""

TokenCounter = Callable[[Row], int]


@dataclass(frozen=True)
class Report:
    """What a file holds. Good rows only are measured; `problems` are the first of them."""

    shape: Shape | None
    rows: int
    duplicates: int
    characters: Lengths
    tokens: Lengths | None
    problems: tuple[Problem, ...]
    problem_count: int

    @property
    def ok(self) -> bool:
        return self.problem_count == 0

    def summary(self) -> dict[str, Any]:
        """The numbers, for an event."""
        return {
            "shape": self.shape,
            "rows": self.rows,
            "duplicates": self.duplicates,
            "characters": asdict(self.characters),
            "tokens": None if self.tokens is None else asdict(self.tokens),
            "problems": self.problem_count,
        }


def validate(
    chunks: Iterable[bytes],
    *,
    count_tokens: TokenCounter | None = None,
    max_tokens: int | None = None,
) -> Report:
    """Read a file to its end. Never raises for what is in it."""
    validation = _Validation(count_tokens, max_tokens)
    for line in lines(chunks):
        validation.take(line)
    return validation.report()


def rows(chunks: Iterable[bytes]) -> Iterator[Row]:
    """The rows of a file that has been validated. Raises ValueError naming the line otherwise."""
    for line in lines(chunks):
        if _is_blank(line):
            continue
        try:
            yield read_row(line)
        except Faulty as fault:
            raise ValueError(fault.at(line.number).message) from None


def _is_blank(line: Line) -> bool:
    if line.content is None:
        return False
    content = line.content.removeprefix(BOM) if line.number == 1 else line.content
    return not content.strip()


class _Validation:
    def __init__(self, count_tokens: TokenCounter | None, max_tokens: int | None) -> None:
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._shape: Shape | None = None
        self._shape_line = 0
        self._rows = self._duplicates = self._problem_count = 0
        self._seen: set[bytes] = set()
        self._characters, self._tokens = Measure(), Measure()
        self._problems: list[Problem] = []
        self._last_line = 0
        self._blank: int | None = None

    def take(self, line: Line) -> None:
        self._last_line = line.number
        if _is_blank(line):
            self._blank = self._blank or line.number
            return
        self._end_blank(line.number)
        try:
            row = read_row(line)
            self._same_shape(row, line.number)
            tokens = self._length(row)
        except Faulty as fault:
            self._add(fault.at(line.number))
            return
        self._rows += 1
        self._characters.add(row.characters)
        if tokens is not None:
            self._tokens.add(tokens)
        assert line.content is not None
        self._remember(line.content.strip())

    def report(self) -> Report:
        if self._rows == 0 and self._problem_count == 0:
            self._add(Problem(1, None, None, "the file has no rows; one JSON object a line."))
        return Report(
            self._shape,
            self._rows,
            self._duplicates,
            self._characters.lengths(),
            self._tokens.lengths() if self._count_tokens else None,
            tuple(self._problems),
            self._problem_count,
        )

    def _end_blank(self, number: int) -> None:
        # Blank lines at the end of a file are nobody's mistake; those between rows may be.
        if self._blank is not None:
            until = f" up to line {number - 1}" if number - 1 > self._blank else ""
            self._add(Problem(self._blank, None, None, f"blank{until}; every line is a row."))
            self._blank = None

    def _same_shape(self, row: Row, number: int) -> None:
        if self._shape is None:
            self._shape, self._shape_line = row.shape, number
        elif row.shape is not self._shape:
            raise Faulty(
                None,
                f"a {row.shape.value} row in a file of {self._shape.value} rows "
                f"(line {self._shape_line}); a file has one shape.",
            )

    def _length(self, row: Row) -> int | None:
        if self._count_tokens is None:
            return None
        try:
            tokens = self._count_tokens(row)
        except Exception as error:  # a chat template may raise anything about a row
            raise Faulty(None, f"the model's chat template refuses it: {error}"[:200]) from None
        if self._max_tokens is not None and tokens > self._max_tokens:
            raise Faulty(
                None, f"the row has {tokens} tokens; at most {self._max_tokens} fit the model."
            )
        return tokens

    def _remember(self, content: bytes) -> None:
        digest = blake2b(content, digest_size=8).digest()
        if digest in self._seen:
            self._duplicates += 1
        elif len(self._seen) < REMEMBERED_ROWS:
            self._seen.add(digest)

    def _add(self, problem: Problem) -> None:
        self._problem_count += 1
        if len(self._problems) < SHOWN_PROBLEMS:
            self._problems.append(problem)
