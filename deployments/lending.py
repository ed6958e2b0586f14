"""A request has the adapter that it names for as long as it runs."""

from __future__ import annotations

import time
from typing import Protocol

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

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
        try:
            await self._lending.enter(name)
        except LorikeetError as error:
            await _refuse(error, send)
            return
        try:
            await self._answer(scope, receive, send)
        finally:
            self._lending.leave(name)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        await self._app(scope, receive, send)
        self._durations.add(time.monotonic() - began)


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
