"""What whoever was asked answers with, and who asks them."""

from __future__ import annotations

from typing import Protocol

from deployments.router.exchange import Exchange

RETRY_PAUSE = 0.02
"""Seconds before the first retry, with jitter; doubled for each further one."""


class ConnectionLost(Exception):
    """The connection broke before the answer was whole."""


class Answer(Protocol):
    """An answer on its way. `status` is known once something was read."""

    status: int
    counted: bool
    """Whether the tokens of an answer that comes as a whole are in `exchange.usage` already."""

    async def read(self) -> bytes:
        """The next pieces of the body, joined; empty at its end. Raises ConnectionLost."""

    async def read_all(self) -> bytes:
        """The rest of the body. Raises ConnectionLost."""


class WholeAnswer:
    """One that has come as a whole, and been counted."""

    status = 200
    counted = True

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read_all(self) -> bytes:
        return await self.read()


class Sender(Protocol):
    """Asks one kind of destination, which is the exchange's `route`."""

    async def send(self, exchange: Exchange) -> Answer:
        """The answer, with its first bytes in `exchange.first`; what is to be given back when the
        request is over is in `exchange.cleanup`.

        Raises a LorikeetError where there is none. One of status 429 or from 500 on says nothing of
        the request: another destination may answer it.
        """
