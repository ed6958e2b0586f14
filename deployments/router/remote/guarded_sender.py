"""A sender to other providers that leaves those alone which keep failing."""

from __future__ import annotations

import asyncio
import time

from cluster.catalog.route import Remote
from cluster.errors import LorikeetError, Overloaded
from deployments.router.answer import Answer, Sender
from deployments.router.exchange import Exchange
from deployments.router.remote.breaker import Attempt, Breakers

HANGS = 10.0
"""Seconds without a first byte after which it is the provider that is slow, when the request is
given up; before, it may be that the caller is in a hurry."""


class GuardedSender:
    def __init__(self, sender: Sender, breakers: Breakers) -> None:
        self._sender = sender
        self._breakers = breakers

    async def send(self, exchange: Exchange) -> Answer:
        """As `sender` does it; raises Unavailable at once where the provider is left alone."""
        route = exchange.route
        assert isinstance(route, Remote), "our own replicas are watched by their pool"
        # By model: a provider limits and loses its models one by one.
        attempt = self._breakers.ask(route.connection_id, route.model, route.name)
        exchange.sent = False
        begun = time.monotonic()
        try:
            answer = await self._sender.send(exchange)
        except Overloaded:  # nobody asked the provider
            attempt.unknown()
            raise
        except LorikeetError as error:
            if exchange.sent:
                _tell(attempt, error)
            else:
                attempt.unknown()
            raise
        except asyncio.CancelledError:
            hangs = not exchange.gone and time.monotonic() - begun >= HANGS
            (attempt.failed if hangs else attempt.unknown)()
            raise
        except BaseException:
            attempt.unknown()
            raise
        attempt.succeeded()
        return answer


def _tell(attempt: Attempt, error: LorikeetError) -> None:
    if error.status == 429:
        attempt.limited(error.retry_after)
    elif error.status >= 500:
        attempt.failed()
    else:
        attempt.succeeded()
