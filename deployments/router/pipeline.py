"""The life of a request, in order. This list is the only place that knows the order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Protocol

from cluster.errors import Internal, LorikeetError, TimedOut
from cluster.tenancy.lease import LimitReached
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import ClientGone, Exchange, Usage
from deployments.router.quotas import quota_headers
from deployments.router.steps.settle import Settle

log = logging.getLogger(__name__)

GONE = 499
"""nginx's status for a caller who did not wait; only usage events carry it."""
TELL = 5.0
"""Seconds that a caller has to take the news of a failure; then the server closes on them."""


class Step(Protocol):
    async def __call__(self, exchange: Exchange) -> None: ...


class Pipeline:
    """Runs the steps; whatever becomes of them, the request is answered and settled once."""

    def __init__(self, steps: Sequence[Step], settle: Settle, timeout: float) -> None:
        """`timeout`: seconds that a request may take from its first step to its last byte."""
        self._steps = steps
        self._settle = settle
        self._timeout = timeout

    async def run(self, exchange: Exchange) -> None:
        failure: LorikeetError | None = None
        try:
            async with asyncio.timeout(exchange.seconds or self._timeout) as exchange.limit:
                for step in self._steps:
                    await step(exchange)
        except ClientGone:
            exchange.status, exchange.error_code = GONE, "client_gone"
        except asyncio.CancelledError:
            exchange.status, exchange.error_code = GONE, "client_gone"
            task = asyncio.current_task()
            if not exchange.gone or task is None or task.uncancel():
                raise  # somebody else, such as a shutdown, cancelled it
        except TimeoutError:
            # Who chose the time themselves pays for what was done in it, as one who leaves does.
            if not exchange.headers_sent and exchange.seconds is None:
                exchange.usage = Usage()
            seconds = exchange.seconds or self._timeout
            failure = TimedOut(f"The request took more than {seconds:g} s.")
        except LorikeetError as error:
            failure = error
        except Exception:
            log.exception("request %s", exchange.id)
            failure = Internal("The server failed to handle the request.")
        finally:
            if failure is not None:
                exchange.status, exchange.error_code = failure.status, failure.code
            for give_back in reversed(exchange.cleanup):
                try:
                    give_back()
                except Exception:  # the others are given back nevertheless
                    log.exception("request %s kept something", exchange.id)
            await asyncio.shield(self._settle(exchange))
        if failure is not None:
            # All is given back by now: a caller who does not read keeps nothing but a connection.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL):
                    await self._fail(exchange, failure)

    async def _fail(self, exchange: Exchange, error: LorikeetError) -> None:
        dialect = ENDPOINTS[exchange.endpoint].dialect
        if exchange.headers_sent:
            # The status line is gone: an event tells the caller that this stream is not whole.
            await exchange.write(dialect.event(error, exchange), more=False)
            return
        body, headers = dialect.answer(error)
        if isinstance(error, LimitReached):
            headers += quota_headers(error.requests, error.tokens)
        await exchange.start(error.status, headers)
        await exchange.write(body, more=False)
