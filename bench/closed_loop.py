"""A closed loop: P workers, one kept-alive connection each, that ask when they were answered."""

import asyncio
import time
from collections import Counter
from typing import cast

import httptools

from bench.chat import turns
from bench.job import Job, Tally, spread
from bench.reading import Reading

BACKOFF_S = 0.1


class Worker(asyncio.Protocol):
    """One connection that sends its next request when the last one is answered."""

    def __init__(self, load: "ClosedLoop", number: int) -> None:
        job = load.job
        self.load = load
        self.requests = turns(job.endpoint, number, stream=job.stream, tokens=job.tokens)
        self.reading = Reading(stream=job.stream, tokens=job.tokens)
        self.transport: asyncio.WriteTransport | None = None
        self.turn = 0
        self.cold = job.warmup
        self.counted = 0
        self.busy_from: float | None = None
        self.busy_to = 0.0
        self.waiting = False
        self.stopped = False

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once."""
        self.transport = cast(asyncio.WriteTransport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the three `on_` methods below."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.fail("not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """Open another one, unless the load is over."""
        self.transport = None
        if self.waiting:
            self.settle("connection lost")
        if not self.stopped:
            self.load.reconnect(self)

    # One request.

    def send(self) -> None:
        """Write the next request."""
        assert self.transport is not None
        now = time.perf_counter()
        if self.load.begun is not None and self.busy_from is None:
            self.busy_from = now
        self.sent = now
        self.reading.begin()
        self.waiting = True
        self.turn += 1
        self.transport.write(self.requests[self.turn % len(self.requests)])

    def on_body(self, body: bytes) -> None:
        """Read on."""
        self.reading.feed(body)

    def on_message_complete(self) -> None:
        """Judge the answer, then send again or stop."""
        if not self.waiting:
            return
        self.settle(self.reading.verdict(self.parser.get_status_code()))
        if self.stopped or self.transport is None:
            return
        if self.parser.should_keep_alive():
            self.send()
        else:
            self.transport.close()

    def settle(self, error: str | None) -> None:
        """Book the request that just ended; the last one of the load stops the worker."""
        self.waiting = False
        now = time.perf_counter()
        if error is not None:
            self.load.errors[error] += 1
        if self.busy_from is None:
            self.load.warmed(self)
            return
        self.busy_to = now
        if error is None:
            self.counted += 1
            self.load.events += self.reading.events
            self.load.latency.append(now - self.sent)
            if self.reading.first:
                self.load.ttft.append(self.reading.first - self.sent)
        assert self.load.begun is not None
        if now >= self.load.begun + self.load.job.seconds:
            self.stop()

    def fail(self, error: str) -> None:
        """Give up this request and its connection."""
        if self.waiting:
            self.settle(error)
        if self.transport is not None:
            self.transport.abort()

    def stop(self) -> None:
        """Send no more."""
        if not self.stopped:
            self.stopped = True
            if self.transport is not None:
                self.transport.close()
            self.load.leave()


class ClosedLoop:
    """All workers of one job and what they counted.

    Warm-up and measurement are one unbroken load: a worker counts from its first request after
    all have warmed up to its first answer after `seconds`. Requests a second are the counted
    answers over the mean time the workers spent on them, so that no request is cut at an edge.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.begun: float | None = None
        self.latency: list[float] = []
        self.ttft: list[float] = []
        self.events = 0
        self.errors: Counter[str] = Counter()
        self.running = job.parallel
        self.tasks: set[asyncio.Task[None]] = set()

    async def drive(self) -> Tally:
        """Run the load to its end."""
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        self.workers = [Worker(self, number) for number in range(self.job.parallel)]
        self.watch = self.loop.call_later(self.job.timeout, self.expire)
        for worker in self.workers:
            self.reconnect(worker, pause=0)
        await self.over.wait()
        self.watch.cancel()
        for task in self.tasks:
            task.cancel()
        return self.tally()

    def reconnect(self, worker: Worker, pause: float = BACKOFF_S) -> None:
        """Open a connection for a worker, a moment later."""
        task = self.loop.create_task(self.connect(worker, pause))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, worker: Worker, pause: float) -> None:
        """Connect; a refused connection is an error and is tried again until the end."""
        await asyncio.sleep(pause)
        try:
            await self.loop.create_connection(lambda: worker, self.job.host, self.job.port)
        except OSError:
            if worker.busy_from is None and self.begun is not None:
                worker.busy_from = time.perf_counter()
            worker.settle("no connection")
            if not worker.stopped:
                self.reconnect(worker)

    def warmed(self, worker: Worker) -> None:
        """Note a request before the measurement; the last worker to warm up begins it."""
        worker.cold -= 1
        if self.begun is None and all(other.cold <= 0 for other in self.workers):
            self.begun = time.perf_counter()
            self.watch.cancel()
            self.watch = self.loop.call_later(self.job.seconds + self.job.timeout, self.expire)
            print("begin", flush=True)

    def leave(self) -> None:
        """Note that a worker has stopped."""
        self.running -= 1
        if not self.running:
            self.over.set()

    def expire(self) -> None:
        """Stop what has not been answered in time."""
        for worker in self.workers:
            if not worker.stopped:
                self.errors["timeout"] += 1
                worker.waiting = False
                worker.busy_to = time.perf_counter()
                worker.stop()

    def tally(self) -> Tally:
        """The counts and times of what was measured."""
        busy = [worker.busy_to - worker.busy_from for worker in self.workers if worker.busy_from]
        mean = sum(busy) / len(busy) if busy else 0.0
        counted = sum(worker.counted for worker in self.workers)
        return Tally(
            requests=counted,
            rate=counted / mean if mean > 0 else 0.0,
            ttft=spread(self.ttft),
            latency=spread(self.latency),
            events=self.events / counted if counted else 0.0,
            errors=dict(self.errors),
        )
