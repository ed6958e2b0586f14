"""Step 7: the request goes to the first who can answer it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from cluster.catalog.route import Destination, Remote
from cluster.errors import LorikeetError, ModelNotFound, TimedOut
from deployments.router.answer import Answer, Sender
from deployments.router.exchange import Exchange, Usage
from deployments.router.presence import watch


class Dispatch:
    def __init__(self, senders: Mapping[type[Destination], Sender]) -> None:
        self._senders = senders

    async def __call__(self, exchange: Exchange) -> None:
        plan = exchange.plan
        assert plan is not None, "resolve comes before dispatch"
        watch(exchange)
        *others, last = plan.candidates
        errors: list[LorikeetError] = []
        exchange.place_wait = plan.patience or 0.0
        for candidate in others:
            exchange.route = candidate
            try:
                exchange.answer = await self._soon(exchange, plan.patience)
                return
            except LorikeetError as error:
                if not elsewhere(error, candidate):
                    raise
                errors.append(error)
                exchange.usage, exchange.first = Usage(), b""
        exchange.route, exchange.place_wait = last, math.inf
        try:
            exchange.answer = await self._senders[type(last)].send(exchange)
        except LorikeetError as error:
            if not elsewhere(error, last):
                raise
            # What kept the first from answering is what the caller can do something about; one
            # that could never answer says nothing of those that may be able to in a while.
            raise min([*errors, error], key=lambda each: not _passes(each)) from error

    async def _soon(self, exchange: Exchange, patience: float | None) -> Answer:
        """Ask one that has others behind it."""
        assert exchange.route is not None, "a candidate is chosen"
        try:
            async with asyncio.timeout(patience):
                return await self._senders[type(exchange.route)].send(exchange)
        except TimeoutError:
            raise TimedOut(
                f"{exchange.route.name!r} sent no token within {patience:g} s."
            ) from None


def elsewhere(error: LorikeetError, candidate: Destination) -> bool:
    """Whether another destination may answer what this one did not."""
    gone = isinstance(error, ModelNotFound) and isinstance(candidate, Remote)
    return _passes(error) or gone or error.code == "unsupported_endpoint"


def _passes(error: LorikeetError) -> bool:
    """Whether the same destination may answer later."""
    return error.status == 429 or error.status >= 500
