"""A paced engine behind a unix socket: vLLM's wire format without a model.

It can die in mid-stream, refuse, or wait for ever; it counts what it was asked and what was
aborted.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools


@dataclass
class Behaviour:
    """Seconds between tokens; `die_after` tokens the connection breaks; `status` refuses.

    `error` is what a refusal says, and with status 200 a stream's first event. `forgetful` breaks
    a connection when a second request comes on it. `deadly` requests end the process: the
    connection breaks and nobody listens any more.
    """

    tokens: int = 5
    pace: float = 0.0
    die_after: int | None = None
    status: int = 200
    error: dict[str, Any] | None = None
    forgetful: bool = False
    deadly: bool = False
    script: tuple[bytes, ...] | None = None
    """What is sent instead of the events of a stream, piece by piece, or as the whole answer."""
    fail_after: int | None = None
    """After so many tokens of a stream `error` is told instead of the first event."""
    stall_after: int | None = None
    """After so many tokens nothing more comes, and the connection stays open."""
    raw: tuple[bytes, ...] | None = None
    """What is sent in the place of an HTTP answer, piece by piece."""
    endless: bytes | None = None
    """What is sent again and again after `raw`."""
    hang: bool = False
    """Whether the connection stays open after `raw`."""


@dataclass
class FakeEngine:
    path: Path
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    running: int = 0
    aborted: int = 0
    connections: int = 0
    server: asyncio.Server | None = None
    network: asyncio.Server | None = None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    token: bytes | None = None
    """Where it is given, the engine listens on a port as well, and answers there who knows it."""
    remote: str | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))

        if self.token is not None:
            self.network = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.remote = f"127.0.0.1:{self.network.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        if self.network is not None:
            self.network.close()
        self.path.unlink(missing_ok=True)

    def hang_up(self) -> None:
        """Close the connections, as a server does that stops."""
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            answered = 0
            while (request := await self._read(reader)) is not None:
                if self.behaviour.deadly:
                    await self.stop()
                    writer.transport.abort()
                    return
                if answered and self.behaviour.forgetful:
                    writer.transport.abort()
                    return
                answered += 1
                self.running += 1
                try:
                    await self._answer(request, reader, writer)
                finally:
                    self.running -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted += 1
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any] | None:
        class Parsed:
            def __init__(self) -> None:
                self.body, self.headers, self.whole = b"", {}, False

            def on_header(self, name: bytes, value: bytes) -> None:
                self.headers[name] = value

            def on_body(self, body: bytes) -> None:
                self.body += body

            def on_message_complete(self) -> None:
                self.whole = True

        parsed = Parsed()
        parser = httptools.HttpRequestParser(parsed)
        while not parsed.whole:
            data = await reader.read(65536)
            if not data:
                return None
            parser.feed_data(data)
        document: dict[str, Any] = json.loads(parsed.body)
        self.requests.append(document)
        self.headers.append(parsed.headers)
        return document

    async def _answer(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        does = self.behaviour
        if does.raw is not None:
            await self._raw(reader, writer)
            return
        local = writer.get_extra_info("socket").family is socket.AF_UNIX
        if not local and self.headers[-1].get(b"x-lorikeet-token") != self.token:
            writer.write(b"HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n")
            return
        if does.status != 200:
            body = json.dumps({"error": does.error}).encode()
            head = f"HTTP/1.1 {does.status} X\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            return
        gone = asyncio.create_task(reader.read(1))
        try:
            if request.get("stream"):
                await self._stream(writer, gone)
            else:
                await self._whole(writer, gone)
        finally:
            gone.cancel()
            await asyncio.wait({gone})

    async def _raw(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in self.behaviour.raw or ():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        while self.behaviour.endless is not None:
            writer.write(self.behaviour.endless)
            await writer.drain()
        if self.behaviour.hang:
            await reader.read(1)
        raise ConnectionError

    async def _stall(self, gone: asyncio.Task[bytes], tokens: int) -> None:
        if tokens == self.behaviour.stall_after:
            await gone
            raise ConnectionError("the router has gone")

    async def _whole(self, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]) -> None:
        await self._pace(gone, self.behaviour.tokens)
        await self._stall(gone, 0)
        if self.behaviour.die_after is not None:
            writer.transport.abort()
            raise ConnectionError
        body = json.dumps({"choices": [{"text": "x"}], "usage": self._usage()}).encode()
        if self.behaviour.script is not None:
            body = b"".join(self.behaviour.script)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]) -> None:
        await self._stall(gone, -1)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        if self.behaviour.script is not None:
            for index, piece in enumerate(self.behaviour.script):
                if index == self.behaviour.die_after:
                    writer.transport.abort()
                    raise ConnectionError
                await self._pace(gone, 1)
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return
        if self.behaviour.error is not None and self.behaviour.fail_after is None:
            self._event(writer, {"error": self.behaviour.error})
        for index in range(self.behaviour.tokens):
            if index == self.behaviour.die_after:
                writer.transport.abort()
                raise ConnectionError
            await self._stall(gone, index)
            await self._pace(gone, 1)
            if index == self.behaviour.fail_after:
                self._event(writer, {"error": self.behaviour.error})
                break
            self._event(writer, {"choices": [{"delta": {"content": f"t{index}"}}]})
            await writer.drain()
        else:
            self._event(writer, {"choices": [], "usage": self._usage()})
        chunk = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk))
        await writer.drain()

    async def _pace(self, gone: asyncio.Task[bytes], tokens: int) -> None:
        done, _ = await asyncio.wait({gone}, timeout=self.behaviour.pace * tokens)
        if done:
            raise ConnectionError("the router has gone")

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 7,
            "completion_tokens": self.behaviour.tokens,
            "total_tokens": 7 + self.behaviour.tokens,
            "prompt_tokens_details": {"cached_tokens": 3},
        }

    def _event(self, writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
        data = json.dumps(document, separators=(",", ":")).encode()
        chunk = b"data: " + data + b"\n\n"
        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
