"""Event streams of other servers, cut into events: any line ends, any cuts between the pieces."""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT = 16 * 2**20
"""Bytes of one event. Images come as text in one."""
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event does not end."""


@dataclass(frozen=True, slots=True)
class Event:
    """`name` is empty where the event has none. `data` is its lines, joined."""

    name: bytes
    data: bytes


class Cutter:
    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = False
        self._cr = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are whole by now. Raises EventTooLarge."""
        seam = max(0, len(self._rest) - 1)
        self._rest += self._plain(piece)
        end = self._rest.rfind(b"\n\n", seam)
        blocks: list[bytes] = []
        if end >= 0:
            blocks = bytes(self._rest[:end]).split(b"\n\n")
            del self._rest[: end + 2]
        if len(self._rest) > MAX_EVENT:
            raise EventTooLarge(f"an event has more than {MAX_EVENT} bytes")
        return self._events(blocks)

    def finish(self) -> list[Event]:
        """What has come of an event without the empty line that should end it."""
        rest = bytes(self._rest)
        self._rest.clear()
        return self._events([rest])

    def _events(self, blocks: list[bytes]) -> list[Event]:
        if blocks and not self._begun:
            self._begun = True
            blocks[0] = blocks[0].removeprefix(_BOM)
        return [event for block in blocks if (event := _event(block)) is not None]

    def _plain(self, piece: bytes) -> bytes:
        """With `\\n` for every line's end. A piece may end within `\\r\\n`."""
        if self._cr and piece:
            self._cr = False
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece


def _event(block: bytes) -> Event | None:
    """None for comments and empty lines alone: servers send them to show that they live."""
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name, b"\n".join(data)) if data else None


def written(data: bytes, name: bytes = b"") -> bytes:
    """An event as all clients read it."""
    lines = b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
    return b"event: " + name + b"\n" + lines if name else lines
