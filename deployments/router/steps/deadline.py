"""Step 3b: until when the caller wants the answer.

`timeout` in the body or the header `x-request-timeout`, in seconds, bound the whole request, a
stream to its last byte; where both are given, the shorter one does. The SDKs tell in headers of
their own how long they wait for the first byte. That is no bound for an answer that has begun, and
who has stopped waiting closes the connection, which ends the request anyway; but a request that
would wait longer than that for its turn is not let wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import kind
from deployments.router.exchange import Exchange

FIELD = "timeout"
HEADER = b"x-request-timeout"
PATIENCE = (b"x-stainless-timeout", b"x-stainless-read-timeout")
"""OpenAI's and Anthropic's SDKs, for Node and for Python."""


class Deadline:
    """Takes the field out of the document: engines and providers do not know it."""

    def __init__(self, most: float) -> None:
        self._most = most

    async def __call__(self, exchange: Exchange) -> None:
        given = [value for name, value in exchange.scope["headers"] if name == HEADER]
        asked = self._header(given[-1]) if given else self._most
        if FIELD in exchange.document:
            value = exchange.document.pop(FIELD)
            if value is not None:
                asked = min(asked, self._field(value))
        begun = asyncio.get_running_loop().time() - (time.perf_counter() - exchange.started)
        if asked < self._most:
            assert exchange.limit is not None, "the pipeline bounds every request"
            exchange.seconds = asked
            exchange.limit.reschedule(begun + asked)
        exchange.patient_until = begun + _patience(exchange.scope["headers"])

    def _header(self, given: bytes) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not 0 < value <= self._most:
            raise self._wrong(HEADER.decode(), repr(given.decode("latin-1")[:40]))
        return value

    def _field(self, given: Any) -> float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not 0 < given <= self._most:
            raise self._wrong(FIELD, kind(given))
        return float(given)

    def _wrong(self, field: str, shown: str) -> InvalidRequest:
        return InvalidRequest(
            f"{field} must be a number of seconds, more than 0 and at most {self._most:g}, "
            f"not {shown}.",
            param=field,
        )


def _patience(headers: list[tuple[bytes, bytes]]) -> float:
    """Seconds that the caller's SDK waits for the first byte."""
    for name, value in headers:
        if name in PATIENCE:
            try:
                seconds = float(value)
            except ValueError:
                continue  # it is not for us, and no mistake of the caller
            if seconds > 0:
                return seconds
    return math.inf
