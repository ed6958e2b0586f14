"""What is to become of an answer beyond its caller."""

from __future__ import annotations

from typing import Protocol


class Record(Protocol):
    async def whole(self, body: bytes) -> bytes:
        """The answer as its caller is to have it. By then it is stored."""

    async def events(self, ready: bytes) -> bytes:
        """The same for whole events of a stream; it is stored before the last one is given."""
