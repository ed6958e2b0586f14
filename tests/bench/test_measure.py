"""A pair, end to end: the load generator's process against two servers of known pace."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

import psutil
import pytest

from bench.chat import Endpoint
from bench.pairs import Cell, pair
from bench.quantile import median
from tests.bench.paced import Paced, paced


class Fake:
    """A system that this process serves."""

    def __init__(self, name: str, server: Paced) -> None:
        self.name = name
        self.server = server

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.server.port, "m")

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(os.getpid())]


@contextmanager
def serving(*servers: Paced) -> Iterator[None]:
    """Serve in a thread."""
    ready = threading.Event()
    over = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with paced(servers[0]), paced(servers[1]):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(5)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.mark.slow
def test_a_candidate_of_half_the_pace_has_half_the_ratio() -> None:
    fast, slow = Paced(first=0.03, last=0.1), Paced(first=0.08, last=0.2)
    with serving(fast, slow):
        found = pair(Fake("vllm", fast), Fake("x", slow), Cell(True, 2), 0, False, seconds=0.4)
    assert found.reference.errors == found.candidate.errors == {}
    assert found.ratio == pytest.approx(fmean(fast.lasts) / fmean(slow.lasts), rel=0.2)
    added = median(slow.firsts) - median(fast.firsts)
    assert found.added_ttft == pytest.approx(1000 * added, abs=25)
    assert "load" in found.reference.cpu
    assert found.candidate.requests < found.reference.requests
