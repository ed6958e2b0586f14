"""Lines of a byte stream, none longer than a bound ever held whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE_BYTES = 1 << 20
PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end. `content` is None where it is longer than the bound."""

    number: int
    content: bytes | None
    bytes: int


def lines(chunks: Iterable[bytes], max_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Split at `\\n` (a `\\r` before it is dropped). The memory held is `max_bytes` and a piece."""
    number, length, kept = 1, 0, bytearray()
    for piece in _pieces(chunks):
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            length += end - start
            if length <= max_bytes + 1:  # one more: a `\r` may yet be dropped
                kept += memoryview(piece)[start:end]
            yield _line(number, kept, length, max_bytes)
            number, length, kept, start = number + 1, 0, bytearray(), end + 1
        length += len(piece) - start
        if length <= max_bytes + 1:
            kept += memoryview(piece)[start:]
    if length:
        yield _line(number, kept, length, max_bytes)


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # A caller's large chunk is cut, so that the line being built never holds much of it.
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]


def _line(number: int, kept: bytearray, length: int, max_bytes: int) -> Line:
    if len(kept) == length and kept.endswith(b"\r"):
        del kept[-1]
        length -= 1
    return Line(number, bytes(kept) if length <= max_bytes else None, length)
