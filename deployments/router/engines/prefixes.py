"""Which replicas lately saw prompts that begin alike, and so have them in their prefix caches.

A prompt is cut into blocks of equal length, and each block is known by the hash of all up to it. So
what is kept is small, however long the prompts; nothing of them can be read from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import orjson

BLOCK = 128
"""Bytes of a block."""
MOST = 256
"""Blocks of one prompt that are looked at: what is longer is told apart by its beginning."""
KEPT = 50_000
"""Blocks that are remembered; the one that was seen least lately goes first."""
REPLICAS = 4
"""Replicas that are remembered for one block."""
PARTS = ("tools", "system", "messages", "prompt", "input")
"""The fields that make the prompt, in the order in which a chat template writes them."""

Trail = tuple[int, ...]
"""The hashes of a prompt's blocks, each of all up to it."""


def trail(document: dict[str, Any], *owner: str) -> Trail:
    """The blocks of a request's prompt. What differs in any `owner` has none in common."""
    parts = [(name, document[name]) for name in PARTS if document.get(name)]
    # A list is left open: what follows in a later turn goes on from there.
    text = b"\n".join(
        name.encode() + b":" + orjson.dumps(part).removesuffix(b"]") for name, part in parts
    )
    blocks = []
    before = hash(owner)
    for start in range(0, min(len(text), BLOCK * MOST) - BLOCK + 1, BLOCK):
        before = hash((before, text[start : start + BLOCK]))
        blocks.append(before)
    return tuple(blocks)


class Prefixes:
    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seen: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        """By block the replicas that saw it, the last one first."""

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, trail: Trail, replica: str) -> None:
        """A replica sees the prompt now."""
        # From its end, so that of one prompt the beginning is forgotten last.
        for block in reversed(trail):
            before = self._seen.get(block, ())
            if before[:1] != (replica,):
                others = (other for other in before if other != replica)
                self._seen[block] = (replica, *others)[:REPLICAS]
            self._seen.move_to_end(block)
        while len(self._seen) > self._kept:
            self._seen.popitem(last=False)

    def find(self, trail: Trail, replicas: Collection[str]) -> str | None:
        """Of these replicas the one that saw the most of the prompt; the last one, of several."""
        for block in reversed(trail):
            for replica in self._seen.get(block, ()):
                if replica in replicas:
                    return replica
        return None
