"""The paced engine: each request in flight gets its next tokens at steps of its own.

A real engine has one step for all. Here that would round what the router adds to whole steps.
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import httptools
import orjson

from bench.paced.generation import Generation, Wire

STEP_S = 0.01
"""Between two chunks of a stream."""


class Connection(asyncio.Protocol):
    """One connection and the request on it."""

    def __init__(self, engine: "PacedEngine") -> None:
        self.engine = engine
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.generation: Generation | None = None
        self.due = 0.0
        self.next: asyncio.TimerHandle | None = None
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods below."""
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone: nothing more is generated."""
        self.transport = None
        self.engine.running.discard(self)
        if self.next is not None:
            self.next.cancel()

    def on_body(self, body: bytes) -> None:
        """Read on."""
        self.body += body

    def on_message_complete(self) -> None:
        """Begin to generate."""
        request, self.body = orjson.loads(self.body), b""
        self.generation = Generation(self.engine.wire, request, self.engine.steps)
        self.engine.running.add(self)
        self.due = asyncio.get_running_loop().time()
        self.wait()

    def wait(self) -> None:
        """Make the next step when it is due, however late the last one was."""
        self.due += STEP_S
        self.next = asyncio.get_running_loop().call_at(self.due, self.step)

    def step(self) -> None:
        """Write what comes next."""
        assert self.generation is not None, "started"
        assert self.transport is not None, "connected"
        ready = self.generation.framed()
        if ready:
            self.transport.write(ready)
        if self.generation.over:
            self.engine.running.discard(self)
        else:
            self.wait()


class PacedEngine:
    """Answers chat completions of `model` on a unix socket and a loopback port."""

    def __init__(self, model: str, seconds: float) -> None:
        """`seconds` that each answer takes, whatever its length."""
        self.wire = Wire.of(model)
        self.steps = max(1, round(seconds / STEP_S))
        self.running: set[Connection] = set()
        self.servers: list[asyncio.Server] = []

    async def listen(self, path: Path, port: int) -> None:
        """Serve."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_unix_server(lambda: Connection(self), str(path)),
            await loop.create_server(lambda: Connection(self), "127.0.0.1", port),
        ]

    async def answer(self, request: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The pieces of an answer to who asks without a connection."""
        generation = Generation(self.wire, request, self.steps)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not generation.over:
            due += STEP_S
            await asyncio.sleep(due - loop.time())
            if piece := generation.step():
                yield piece

    async def stop(self) -> None:
        """Serve no more."""
        for server in self.servers:
            server.close()
