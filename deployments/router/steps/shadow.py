"""Step 8: where an alias has a shadow, a copy of the request goes to it too.

The copy begins once the caller's own answer has, so that it costs them no time to the first token.
Its answer is read and thrown away; its usage row, which names the request that it copies, is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.types import Message

from cluster.catalog.route import Destination, Plan
from deployments.router.exchange import Exchange
from deployments.router.waiting.tier import Tier

log = logging.getLogger(__name__)

MOST = 32
"""Copies that run at the same time in one router; further ones are not made."""


class Shadow:
    def __init__(
        self,
        answer: Callable[[Exchange], Coroutine[Any, Any, None]],
        running: set[asyncio.Task[None]],
    ) -> None:
        """`answer` dispatches a copy, streams its answer and settles it. In `running` are those
        that do so, for who has to end them."""
        self._answer = answer
        self._running = running

    async def __call__(self, exchange: Exchange) -> None:
        plan = exchange.plan
        assert plan is not None, "resolve comes before shadow"
        if plan.shadow is None or plan.shadow == exchange.route:
            return
        if len(self._running) >= MOST:
            log.warning("request %s is not copied: %d copies run", exchange.id, MOST)
            return
        task = asyncio.create_task(self._answer(_copy(exchange, plan.shadow)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _copy(exchange: Exchange, shadow: Destination) -> Exchange:
    copy = Exchange(exchange.endpoint, exchange.scope, _stays, _nowhere)
    copy.principal, copy.user = exchange.principal, exchange.user
    copy.body, copy.document = exchange.body, exchange.document
    copy.model = shadow.name
    copy.plan, copy.route = Plan((shadow,)), shadow
    copy.seconds = exchange.seconds
    copy.stream, copy.usage_wanted = exchange.stream, exchange.usage_wanted
    copy.prompts, copy.prompt_estimate = exchange.prompts, exchange.prompt_estimate
    copy.shadow_of = exchange.id
    copy.tier, copy.reserve = Tier.FLEX, exchange.reserve
    return copy


async def _stays() -> Message:
    """A caller who never hangs up."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _nowhere(message: Message) -> None:
    """Where the copy's answer goes."""
