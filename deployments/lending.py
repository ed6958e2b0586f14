"""A request has the adapter that it names for as long as it runs."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import LorikeetError, Unavailable

ADAPTER_HEADER = b"x-lorikeet-adapter"
"""In which routers say it, so that nobody reads the body for it."""
NOT_LENT = 424
"""The status of a request whose adapter can't be had here now: the replica itself is sound."""
RECENT = 0.05
"""The weight of the last request in the time that one takes."""


class Lending(Protocol):
    async def enter(self, name: str) -> None:
        """Have the adapter until `leave`. Raises LorikeetError where it can't be had."""

    def leave(self, name: str) -> None: ...


class Durations:
    """How long requests take."""

    def __init__(self) -> None:
        self.duration = 0.0

    def add(self, seconds: float) -> None:
        self.duration += (seconds - self.duration) * (RECENT if self.duration else 1.0)


class Lender:
    """Gets the adapter before `app` answers, and gives it back after the last byte."""

    def __init__(self, app: ASGIApp, lending: Lending, durations: Durations) -> None:
        self._app = app
        self._lending = lending
        self._durations = durations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = next((v.decode() for k, v in scope["headers"] if k == ADAPTER_HEADER), None)
        if name is None:
            await self._answer(scope, receive, send)
            return
        heard: list[Message] = []
        try:
            if not await self._enter(name, receive, heard):
                return
        except LorikeetError as error:
            await _refuse(error, send)
            return
        try:
            await self._answer(scope, _again(heard, receive) if heard else receive, send)
        finally:
            self._lending.leave(name)

    async def _enter(self, name: str, receive: Receive, heard: list[Message]) -> bool:
        """Get the adapter; False where the caller leaves before. `heard` is what they said."""
        serving, gone = asyncio.current_task(), False
        assert serving is not None, "uvicorn runs a task for each request"

        async def watch() -> None:
            nonlocal gone
            while not gone:
                heard.append(await receive())
                gone = heard[-1]["type"] == "http.disconnect"
            serving.cancel()

        watcher = asyncio.create_task(watch())  # it does not run where the adapter is there
        try:
            await self._lending.enter(name)
        except asyncio.CancelledError:
            if not gone or serving.uncancel():
                raise  # somebody else cancelled it
            return False
        finally:
            watcher.cancel()
        return True

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        await self._app(scope, receive, send)
        self._durations.add(time.monotonic() - began)


def _again(heard: list[Message], receive: Receive) -> Receive:
    """`receive` as it was before that was heard."""

    async def again() -> Message:
        return heard.pop(0) if heard else await receive()

    return again


async def _refuse(error: LorikeetError, send: Send) -> None:
    """As vLLM's own server would say it."""
    status = NOT_LENT if isinstance(error, Unavailable) else error.status
    told = {
        "message": error.message,
        "type": type(error).__name__,
        "param": error.param,
        "code": status,
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps({"error": told})})
