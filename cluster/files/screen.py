"""The cheap checks that JSONL passes while it is uploaded.

They cost the router next to nothing; the rows themselves are judged by `cluster.datasets` before a
job is queued.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterable, AsyncIterator

from cluster.datasets.lines import MAX_LINE_BYTES
from cluster.errors import InvalidRequest


class Screen:
    """Text that is UTF-8, not empty, with no line too long. Raises InvalidRequest."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._line_bytes = 0
        self._empty = True

    def feed(self, chunk: bytes) -> None:
        self._decode(chunk, final=False)
        self._empty = self._empty and not chunk.strip()
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._grow(end - start)
            self._line, self._line_bytes, start = self._line + 1, 0, end + 1
        self._grow(len(chunk) - start)

    def end(self) -> None:
        self._decode(b"", final=True)
        if self._empty:
            raise InvalidRequest(
                "The file is empty; it needs one JSON object a line.", param="file"
            )

    def _decode(self, chunk: bytes, *, final: bool) -> None:
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            # The fault may lie in bytes kept from the chunk before: count the lines before it.
            line = self._line + error.object[: error.start].count(b"\n")
            raise InvalidRequest(
                f"line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
                "the file must be UTF-8 text.",
                param="file",
            ) from None

    def _grow(self, size: int) -> None:
        self._line_bytes += size
        if self._line_bytes > MAX_LINE_BYTES + 1:  # one for a `\r`
            raise InvalidRequest(
                f"line {self._line} is longer than {MAX_LINE_BYTES} bytes, the most allowed.",
                param="file",
            )


async def screened(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same chunks, refused as soon as one fails."""
    screen = Screen()
    async for chunk in chunks:
        screen.feed(chunk)
        yield chunk
    screen.end()
