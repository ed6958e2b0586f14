"""A small ASGI app in the place of an engine's, and Serve's handle in the place of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from ray.serve.exceptions import RayServeException
from starlette.types import Receive, Scope, Send

from deployments.engine_call import Piece, call


@dataclass
class AsgiEngine:
    """What it does is told by the path that is asked."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    stopped: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        self.asked.append({"body": body, "headers": dict(scope["headers"])})
        match scope["path"]:
            case "/whole":
                await self._answer(send, 200, b"the answer")
            case "/refused":
                await self._answer(send, 500, b"broken")
            case "/empty":
                await self._answer(send, 403, b"")
            case "/stream":
                await self._stream(send, 40, 0.001)
            case "/broken":
                await self._stream(send, 3, 0.02)
                raise RuntimeError("the engine has ended")
            case "/endless":
                await self._endless(receive, send)

    async def _answer(self, send: Send, status: int, body: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send, tokens: int, pace: float) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for index in range(tokens):
            body = f"data: {index}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(pace)
        if tokens > 3:
            await send({"type": "http.response.body", "body": b""})

    async def _endless(self, receive: Receive, send: Send) -> None:
        """Until the caller has gone: uvicorn says so, a generator that is closed cancels."""
        streaming = asyncio.create_task(self._stream(send, 1_000_000, 0.005))
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            streaming.cancel()
            self.stopped += 1

    @asynccontextmanager
    async def on_socket(self, path: Path) -> AsyncIterator[None]:
        """Served as the replicas serve theirs."""
        server = uvicorn.Server(
            uvicorn.Config(self, uds=str(path), lifespan="off", log_config=None, ws="none")
        )
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.001)
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class Pieces:
    """A response generator: the replica's method runs by itself, and its pieces wait here."""

    def __init__(self, engine: AsgiEngine, path: str, headers: bytes, body: bytes) -> None:
        self._came: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._method = asyncio.create_task(self._run(engine, path, headers, body))

    async def _run(self, *asked: Any) -> None:
        try:
            async with aclosing(call(*asked)) as pieces:
                async for piece in pieces:
                    await self._came.put(piece)
            await self._came.put(StopAsyncIteration())
        except RuntimeError as error:
            await self._came.put(RayServeException(str(error)))

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        came = await self._came.get()
        if isinstance(came, Exception):
            raise came
        return came

    def cancel(self) -> None:
        self._method.cancel()


class Handle:
    """An application's handle. It is its own method `call`."""

    def __init__(self, engine: AsgiEngine) -> None:
        self._engine = engine
        self.call = self

    def options(self, *, stream: bool) -> Handle:
        assert stream, "an answer comes in pieces"
        return self

    def remote(self, path: str, headers: bytes, body: bytes) -> Pieces:
        return Pieces(self._engine, path, headers, body)


def handles(applications: dict[str, AsgiEngine]) -> Callable[[str], Handle]:
    """In the place of `serve.get_app_handle`."""

    def find(name: str) -> Handle:
        with suppress(KeyError):
            return Handle(applications[name])
        raise RayServeException(f"Application '{name}' does not exist.")

    return find
