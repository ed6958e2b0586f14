"""A few callers of one tenant who stream one answer after the other, and how long each took."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.chat import Endpoint, wire
from bench.reading import CONTENT, DONE

END = b"0\r\n\r\n"
"""Of a chunked answer."""


@dataclass
class Times:
    """Of each whole answer, in milliseconds, in the order of their ends."""

    ttft: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)


async def steady(endpoint: Endpoint, callers: int, seconds: float) -> Times:
    """The answers that began and ended within so many seconds; the first of each is not counted.

    Raises RuntimeError where one is not whole.
    """
    times = Times()
    end = time.perf_counter() + seconds
    await asyncio.gather(*(_caller(endpoint, number, end, times) for number in range(callers)))
    return times


async def _caller(endpoint: Endpoint, number: int, end: float, times: Times) -> None:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        warm = False
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(wire(endpoint, number, stream=True))
            first = await _answer(reader)
            now = time.perf_counter()
            if warm:
                times.ttft.append(1000 * (first - begun))
                times.latency.append(1000 * (now - begun))
            warm = True
            number += 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> float:
    """Read one answer to its end. Returns when its first content came."""
    first, seen = 0.0, b""
    while not seen.endswith(END):
        piece = await reader.read(65536)
        seen += piece
        if not first and CONTENT.search(seen):
            first = time.perf_counter()
        if not piece or not seen.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not a stream: {seen[:500]!r}")
    if DONE not in seen or not first:
        raise RuntimeError(f"not a whole answer: {seen[-500:]!r}")
    return first
