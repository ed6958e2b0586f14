"""One answer as it arrives: looked at only as far as the counts need it."""

import re
import time

CONTENT = re.compile(rb'"content": ?"[^"]')
FINISHED = re.compile(rb'"finish_reason": ?"length"')
EVENT = b"\ndata:"
DONE = b"data: [DONE]"
TAIL = 1024
"""Bytes kept of a stream's end: its last event and the one with the finish reason fit in."""


class Reading:
    """Counts the events of an answer and judges it at its end."""

    def __init__(self, *, stream: bool, tokens: int) -> None:
        self.stream = stream
        self.tokens = tokens
        self.full = re.compile(rb'"completion_tokens": ?%d\b' % tokens)
        self.begin()

    def begin(self) -> None:
        """Forget the last answer."""
        self.first = 0.0
        self.head = b""
        self.tail = b"\n"
        self.events = 0

    def feed(self, body: bytes) -> None:
        """Count events and note the first one that carries content."""
        tail = self.tail
        if not self.stream:
            self.tail = tail + body
            return
        seen = tail + body
        self.events += seen.count(EVENT, max(0, len(tail) - len(EVENT) + 1))
        if not self.first:
            self.head += body
            if CONTENT.search(self.head):
                self.first = time.perf_counter()
        self.tail = seen[-TAIL:]

    def verdict(self, status: int) -> str | None:
        """What is wrong with the answer that just ended, or None."""
        if status != 200:
            return f"HTTP {status}"
        if not self.stream:
            return None if self.full.search(self.tail) else f"not {self.tokens} tokens"
        if DONE not in self.tail[-40:]:
            return "no [DONE]"
        if not FINISHED.search(self.tail):
            return "finish_reason is not length"
        return None if self.first else "no content"
