"""Asks our own replicas: one, and another if that fails before its first byte."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack

import orjson

from cluster.catalog.replicas import Replica
from cluster.catalog.route import Route
from cluster.errors import InvalidRequest, LorikeetError, TimedOut, Unavailable
from cluster.settings import Settings
from deployments.lending import ADAPTER_HEADER, NOT_LENT
from deployments.router.answer import RETRY_PAUSE, Answer, ConnectionLost
from deployments.router.dialects.openai.errors import from_engine, status_of
from deployments.router.endpoint import ENDPOINTS
from deployments.router.engines.address import addressed
from deployments.router.engines.prefixes import Trail, trail
from deployments.router.engines.replicas import SUSPICION, ReplicaPool
from deployments.router.engines.transport import ReplicaAnswer, Transport
from deployments.router.exchange import Exchange
from deployments.router.waiting.slots import Need, Place, Slots

FAULTS = frozenset({NOT_LENT, 500, 502, 503})
"""What an engine answers that can't serve anybody. A 4xx is the caller's, and final."""


class Engines:
    def __init__(
        self, pool: ReplicaPool, slots: Slots, transport: Transport, settings: Settings
    ) -> None:
        self._pool = pool
        self._slots = slots
        self._transport = transport
        self._retries = settings.first_token_retries
        self._token = settings.token().encode()

    async def send(self, exchange: Exchange) -> Answer:
        route = exchange.route
        assert isinstance(route, Route), "dispatch sends others elsewhere"
        try:
            body = orjson.dumps(addressed(exchange, route))
        except orjson.JSONEncodeError as error:  # it reads more levels than it writes
            raise InvalidRequest("The body is nested too deeply.") from error
        headers = (
            # Ours, not the caller's: the engine takes two requests of one id for one.
            b"content-type: application/json\r\nx-request-id: %b\r\nx-lorikeet-token: %b\r\n"
            % (exchange.id.encode(), self._token)
        )
        assert exchange.principal is not None, "authenticate comes before dispatch"
        need = Need(
            route.base.name,
            route.engine_model,
            exchange.principal.organization_id,
            exchange.tier,
            exchange.reserve,
            min(exchange.deadline, exchange.patient_until, time.monotonic() + exchange.place_wait),
            self._trail(exchange, route),
        )
        if route.digest is not None:
            headers += b"%b: %b\r\n" % (ADAPTER_HEADER, route.engine_model.encode())
        passed: dict[str, float] = {}
        told: LorikeetError | None = None
        failures = 0
        deadline = time.monotonic() + self._pool.wait
        unheard_until: float | None = None
        while failures <= self._retries:
            try:
                # With an answer at hand others are tried, but nobody is waited for.
                waits = told is None and exchange.place_wait > 0
                place = await self._slots.take(need, passed, deadline, waits=waits)
            except (Unavailable, TimedOut) as error:
                raise told or error from None
            replica, sound = place.replica, False
            with ExitStack() as attempt:
                attempt.callback(_leave, place, exchange)
                # From here the engine works for the caller, who may leave before its counts come.
                most = exchange.prompts * route.base.context_length
                exchange.usage.prompt = min(exchange.prompt_estimate, most)
                try:
                    answer = await self._ask(replica, exchange, headers, body, attempt)
                    fault = await _fault(answer, exchange)
                    if fault is None:
                        exchange.cleanup.append(attempt.pop_all().close)
                        return answer
                    told, sound = fault, answer.status == NOT_LENT
                    # It may be the request that ends engines: it gets one more, not all of them.
                    failures = max(failures + 1, self._retries)
                except ConnectionLost:
                    failures += 1
                    deadline = time.monotonic() + self._pool.wait
                except OSError as error:
                    # Nobody heard the request, so it may be sent anew, for as long as one waits.
                    if unheard_until is None:
                        deadline = unheard_until = time.monotonic() + self._pool.wait
                    elif time.monotonic() >= unheard_until:
                        exchange.usage.prompt = 0
                        raise told or Unavailable(
                            f"No replica of {route.base.name!r} can be reached.", retry_after=5.0
                        ) from error
                # Before its place goes to the next one who waits.
                passed[replica.id] = (
                    time.monotonic() + SUSPICION if sound else self._pool.suspect(replica)
                )
                exchange.usage.prompt = 0
            if not sound:
                self._transport.forget(replica)
            await asyncio.sleep(random.uniform(0.5, 1.5) * RETRY_PAUSE * 2**failures / 2)
        raise told or Unavailable(
            f"{route.base.name!r} failed {failures} times before the first token.", retry_after=1.0
        )

    def _trail(self, exchange: Exchange, route: Route) -> Trail:
        if not self._pool.by_prefix(route.base.name):
            return ()
        assert exchange.principal is not None, "authenticate comes before dispatch"
        # What the engine shares: nothing between organizations, nor between adapters.
        salt = str(exchange.document.get("cache_salt"))
        owner = exchange.principal.organization_id
        return trail(exchange.document, owner, salt, route.engine_model)

    async def _ask(
        self, replica: Replica, exchange: Exchange, headers: bytes, body: bytes, attempt: ExitStack
    ) -> ReplicaAnswer:
        """Send the request and take the first bytes. `attempt` gives the connections back."""
        fresh = False
        while True:
            try:
                answer = await self._transport.post(
                    replica, exchange.endpoint, headers, body, fresh=fresh
                )
            except OSError as error:
                if not fresh:
                    raise
                # It heard the request on the connection that broke, and may have died of it.
                raise ConnectionLost from error
            attempt.callback(answer.close)
            try:
                exchange.first = await answer.read()
            except ConnectionLost:
                if not answer.stale:
                    raise
                # It broke while it lay idle, which says nothing of the replica but something of
                # the other connections that lie idle.
                self._transport.forget(replica)
                fresh = True
            else:
                return answer


def _leave(place: Place, exchange: Exchange) -> None:
    place.leave(exchange.usage.total)


async def _fault(answer: ReplicaAnswer, exchange: Exchange) -> LorikeetError | None:
    """The error, where the answer is that the engine can't serve."""
    endpoint, status = ENDPOINTS[exchange.endpoint], answer.status
    told = endpoint.dialect.failure(exchange.first)
    if status in FAULTS:
        told = exchange.first + await answer.read_all()
    elif told is not None:  # a stream whose engine died before its first token
        status = status_of(told) or status
    if told is None or status not in FAULTS:
        return None
    return from_engine(status, told, endpoint.input, exchange.document.keys())
