"""An open loop: requests come at a constant rate, whether the earlier ones are answered or not.

A time counts from the moment at which the request was due, so that a system which stalls is charged
for all who would have come meanwhile.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import cast

import httptools

from bench.chat import turns
from bench.job import Job, Tally, spread
from bench.reading import Reading

MOST = 1500
"""Requests in flight at once; one that is due beyond them is an error of the system."""
WARM_S = 1.0
"""Seconds of the same load before the measurement."""


class Caller(asyncio.Protocol):
    """One kept-alive connection and the request on it."""

    def __init__(self, loop: "OpenLoop") -> None:
        self.loop = loop
        self.reading = Reading(stream=loop.job.stream, tokens=loop.job.tokens)
        self.due = 0.0
        self.busy = False
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait to be used."""
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser = httptools.HttpResponseParser(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at `due`."""
        assert self.transport is not None, "connected"
        self.reading.begin()
        self.due, self.busy = due, True
        self.loop.sent(time.perf_counter() - due, due)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods below."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.end("not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """Be used no more."""
        self.transport = None
        self.end("connection lost")
        self.loop.forget(self)

    def on_body(self, body: bytes) -> None:
        """Read on."""
        self.reading.feed(body)

    def on_message_complete(self) -> None:
        """Judge the answer and wait to be used again."""
        self.end(self.reading.verdict(self.parser.get_status_code()))

    def end(self, error: str | None) -> None:
        """Book the request, if there is one."""
        if not self.busy:
            return
        self.busy = False
        again = error is None and self.parser.should_keep_alive()
        self.loop.answered(self, error)
        if self.transport is None:
            return
        if again:
            self.loop.idle.append(self)
        else:
            self.transport.abort()


class OpenLoop:
    """The schedule, its callers and what they counted."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.requests = turns(job.endpoint, 0, stream=job.stream, tokens=job.tokens)
        self.idle: list[Caller] = []
        self.open: set[Caller] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.flying = 0
        self.schedule_is_over = False
        self.landed = asyncio.Event()
        self.events = 0
        self.latency: list[float] = []
        self.ttft: list[float] = []
        self.late: list[float] = []
        self.errors: Counter[str] = Counter()

    async def drive(self) -> Tally:
        """Run the load to its end."""
        warm = time.perf_counter() + 0.05
        self.begun = warm + WARM_S
        self.last = self.begun
        turn, due, over = 0, warm, self.begun + self.job.seconds
        told = False
        while due < over:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if not told and due >= self.begun:
                told = True
                print("begin", flush=True)
            while due <= time.perf_counter() and due < over:
                self.arrive(turn, due)
                turn += 1
                due = warm + turn / self.job.rate
        self.schedule_is_over = True
        if self.flying:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.job.timeout):
                    await self.landed.wait()
        self.errors["timeout"] += self.flying
        for task in self.tasks:
            task.cancel()
        return self.tally()

    def arrive(self, turn: int, due: float) -> None:
        """Send the request that is due, on a connection that is free."""
        if self.flying >= MOST:
            self.errors["too many in flight"] += 1
            return
        self.flying += 1
        request = self.requests[turn % len(self.requests)]
        while self.idle:
            caller = self.idle.pop()
            if caller.transport is not None and not caller.transport.is_closing():
                caller.send(request, due)
                return
        task = asyncio.get_running_loop().create_task(self.connect(request, due))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, request: bytes, due: float) -> None:
        """Send on a new connection."""
        caller = Caller(self)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: caller, self.job.host, self.job.port
            )
        except OSError:
            self.land()
            self.errors["no connection"] += 1
            return
        self.open.add(caller)
        caller.send(request, due)

    def land(self) -> None:
        """Note that a request is over."""
        self.flying -= 1
        if not self.flying and self.schedule_is_over:
            self.landed.set()

    def sent(self, late: float, due: float) -> None:
        """Note how late a request left."""
        if due >= self.begun:
            self.late.append(late)

    def answered(self, caller: Caller, error: str | None) -> None:
        """Note an answer; what was due in the warm-up is not counted."""
        self.land()
        now = time.perf_counter()
        if error is not None:
            self.errors[error] += 1
        elif caller.due >= self.begun:
            self.last = now
            self.events += caller.reading.events
            self.latency.append(now - caller.due)
            if caller.reading.first:
                self.ttft.append(caller.reading.first - caller.due)

    def forget(self, caller: Caller) -> None:
        """A connection is gone."""
        self.open.discard(caller)

    def tally(self) -> Tally:
        """The counts and times of what was measured."""
        counted = len(self.latency)
        return Tally(
            requests=counted,
            rate=counted / (self.last - self.begun) if counted else 0.0,
            ttft=spread(self.ttft),
            latency=spread(self.latency),
            events=self.events / counted if counted else 0.0,
            errors={name: many for name, many in self.errors.items() if many},
            late=spread(self.late),
        )
