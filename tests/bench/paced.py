"""A fake OpenAI server that answers at a known pace, and can answer wrongly."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.chat import TOKENS


@dataclass
class Paced:
    """`first` seconds to the first content, `last` seconds to the end; then what goes wrong."""

    first: float = 0.05
    last: float = 0.1
    events: int = 4
    status: int = 200
    tokens: int = TOKENS
    done: bool = True
    finish: str = "length"
    split: int = 0
    hang_up_every: int = 0
    port: int = 0
    seen: int = 0
    connections: int = 0
    firsts: list[float] = field(default_factory=list)
    lasts: list[float] = field(default_factory=list)
    """What the two really took, on a busy machine."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.split(":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length")
                )
                request = json.loads(await reader.readexactly(length))
                self.seen += 1
                if self.hang_up_every and self.seen % self.hang_up_every == 0:
                    break
                if self.status != 200:
                    writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % self.status)
                elif request["stream"]:
                    await self.stream(writer)
                else:
                    await self.plain(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def plain(self, writer: asyncio.StreamWriter) -> None:
        """A whole answer after `last` seconds."""
        asked = time.perf_counter()
        await asyncio.sleep(self.last)
        self.lasts.append(time.perf_counter() - asked)
        choice = {"message": {"content": "hello"}, "finish_reason": self.finish}
        usage = {"completion_tokens": self.tokens, "total_tokens": 99}
        content = json.dumps({"choices": [choice], "usage": usage}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    async def stream(self, writer: asyncio.StreamWriter) -> None:
        """A role event at once, content after `first` seconds, the end after `last`."""
        asked = time.perf_counter()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self.event(writer, {"role": "assistant", "content": ""})
        await asyncio.sleep(self.first)
        self.firsts.append(time.perf_counter() - asked)
        for _ in range(self.events):
            await self.event(writer, {"content": "data: x\n"})
        await asyncio.sleep(self.last - self.first)
        self.lasts.append(time.perf_counter() - asked)
        await self.event(writer, {}, finish=self.finish)
        if self.done:
            await self.chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    async def event(
        self, writer: asyncio.StreamWriter, delta: dict[str, str], finish: str | None = None
    ) -> None:
        """One SSE event."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await self.chunk(writer, f"data: {json.dumps({'choices': [choice]})}\n\n".encode())

    async def chunk(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        """An HTTP chunk, or many of `split` bytes."""
        step = self.split or len(content)
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if self.split:
                await asyncio.sleep(0)


@asynccontextmanager
async def paced(server: Paced) -> AsyncIterator[Paced]:
    """Serve on a free loopback port."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
