"""The paced engine: every step all requests in flight get their next tokens, as in a real one."""

import asyncio
from pathlib import Path
from typing import cast

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

    def on_body(self, body: bytes) -> None:
        """Read on."""
        self.body += body

    def on_message_complete(self) -> None:
        """Begin to generate with the next step."""
        request, self.body = orjson.loads(self.body), b""
        self.generation = Generation(self.engine.wire, request, self.engine.steps)
        self.engine.start(self)

    def step(self) -> bool:
        """Write what comes next; whether it was the last."""
        assert self.generation is not None, "started"
        assert self.transport is not None, "connected"
        ready = self.generation.step()
        if ready:
            self.transport.write(ready)
        return self.generation.over


class PacedEngine:
    """Answers chat completions of `model` on a unix socket and a loopback port."""

    def __init__(self, model: str, seconds: float) -> None:
        """`seconds` that each answer takes, whatever its length."""
        self.wire = Wire.of(model)
        self.steps = max(1, round(seconds / STEP_S))
        self.running: set[Connection] = set()
        self.ticking: asyncio.TimerHandle | None = None
        self.servers: list[asyncio.Server] = []

    async def listen(self, path: Path, port: int) -> None:
        """Serve."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_unix_server(lambda: Connection(self), str(path)),
            await loop.create_server(lambda: Connection(self), "127.0.0.1", port),
        ]

    def start(self, connection: Connection) -> None:
        """Take a request into the next step."""
        self.running.add(connection)
        if self.ticking is None:
            loop = asyncio.get_running_loop()
            self.due = loop.time() + STEP_S
            self.ticking = loop.call_at(self.due, self.tick)

    def tick(self) -> None:
        """One step."""
        for connection in list(self.running):
            if connection.step():
                self.running.discard(connection)
        self.ticking = None
        if self.running:
            loop = asyncio.get_running_loop()
            # On time again after a step that was late, and never two at once.
            self.due = max(self.due + STEP_S, loop.time() + STEP_S / 2)
            self.ticking = loop.call_at(self.due, self.tick)

    async def stop(self) -> None:
        """Serve no more."""
        if self.ticking is not None:
            self.ticking.cancel()
        for server in self.servers:
            server.close()
