"""Step 6: the request goes to a replica, and to another one if that fails before its first byte."""

from __future__ import annotations

import asyncio
import random

import orjson

from cluster.errors import UpstreamFailed
from cluster.settings import Settings
from deployments.router.exchange import Exchange
from deployments.router.presence import watch
from deployments.router.replicas import ReplicaPool
from deployments.router.upstream import ConnectionLost, Upstreams

RETRY_PAUSE = 0.02
"""Seconds before the first retry, with jitter; doubled for each further one."""


class Dispatch:
    def __init__(self, pool: ReplicaPool, upstreams: Upstreams, settings: Settings) -> None:
        self._pool = pool
        self._upstreams = upstreams
        self._retries = settings.first_token_retries
        self._token = settings.token().encode()

    async def __call__(self, exchange: Exchange) -> None:
        route = exchange.route
        assert route is not None, "resolve comes before dispatch"
        body = orjson.dumps(exchange.document)
        headers = (
            # Ours, not the caller's: the engine takes two requests of one id for one.
            b"content-type: application/json\r\nx-request-id: %b\r\nx-lorikeet-token: %b\r\n"
            % (exchange.id.encode(), self._token)
        )
        watch(exchange)
        passed: set[str] = set()
        for attempt in range(self._retries + 1):
            replica = await self._pool.pick(route.base.name, route.engine_model, passed)
            address = self._pool.address(replica)
            assert address is not None, "a picked replica can be reached"
            give_back = self._pool.take(replica)
            try:
                answer = await self._upstreams.post(address, exchange.endpoint, headers, body)
                exchange.cleanup.append(answer.close)
                exchange.first = await answer.read()
            except (ConnectionLost, OSError):
                give_back()
                self._pool.suspect(replica)
                self._upstreams.forget(address)
                passed.add(replica.id)
                await asyncio.sleep(random.uniform(0.5, 1.5) * RETRY_PAUSE * 2**attempt)
                continue
            except asyncio.CancelledError:
                give_back()
                raise
            exchange.cleanup.append(give_back)
            exchange.answer = answer
            return
        raise UpstreamFailed(
            f"{len(passed)} replicas of {route.base.name!r} failed before the first token."
        )
