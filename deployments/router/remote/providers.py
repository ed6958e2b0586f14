"""Asks other providers. Their models are named `provider/model`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import httpcore
import orjson

from cluster.catalog.connection import Connection, Credentials, Protocol
from cluster.catalog.route import Remote
from cluster.errors import InvalidRequest, LorikeetError, ModelNotFound, Overloaded
from cluster.outgoing.client import BodyTooLarge, Incoming, Outgoing
from cluster.seal import Seal
from deployments.router.answer import Answer, WholeAnswer
from deployments.router.exchange import Exchange, Usage
from deployments.router.remote.answer import TRANSPORT, StreamedAnswer, whole
from deployments.router.remote.faults import from_answer, from_event, from_transport, garbage
from deployments.router.remote.passage import Passage
from deployments.router.remote.request import (
    ANTHROPIC_VERSION,
    credential_headers,
    passage,
    request_headers,
)

MAX_IN_FLIGHT = 500
"""Requests to one connection at a time, from one router."""
MAX_ANSWER = 64 * 2**20
"""Bytes of an answer that comes as a whole."""
MAX_ERROR = 64 * 2**10
PROBE_SILENCE = 15.0
PROBE_TIME = 30.0
"""Seconds for all of a list: a byte now and then would never be silence."""
MAX_PROBE = 4 * 2**20
"""Bytes of a list of models: some list hundreds, each with its description."""
_STREAMS = ("text/event-stream", "text/plain", "application/octet-stream", "")
"""Some serve events as any text."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a provider said to the cheapest question there is."""

    seconds: float
    models: tuple[str, ...] | None
    """Those that it offers; None where it does not list them."""
    error: LorikeetError | None = None


class Providers:
    def __init__(
        self, find: Callable[[str], Connection | None], seal: Seal, outgoing: Outgoing
    ) -> None:
        """`find` has the connection of an id, as fresh as the catalogue."""
        self._find = find
        self._seal = seal
        self._outgoing = outgoing
        self._opened: dict[str, tuple[Connection, Credentials]] = {}
        self._in_flight: Counter[str] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, exchange: Exchange) -> Answer:
        target = exchange.route
        assert isinstance(target, Remote), "dispatch sends others elsewhere"
        connection = self._find(target.connection_id)
        if connection is None:  # removed since the name was looked up
            raise ModelNotFound(target.name)
        way = passage(exchange, target, connection)
        try:
            body = orjson.dumps(way.body())
        except orjson.JSONEncodeError as error:  # it reads more levels than it writes
            raise InvalidRequest("The body is nested too deeply.") from error
        own = self._credentials(connection)
        leave = self._enter(connection)
        # From here the provider works for the caller, who may leave before its counts come.
        exchange.sent = True
        exchange.usage.prompt = exchange.prompt_estimate
        try:
            answer = await self._ask(exchange, connection, way, own, body)
        except BaseException as error:
            leave()
            if isinstance(error, LorikeetError):
                exchange.usage = Usage()
                error.message = own.masked(error.message)
            raise
        exchange.cleanup.append(leave)
        return answer

    def _enter(self, connection: Connection) -> Callable[[], None]:
        """Count a request of the connection until what is returned is called. Raises Overloaded:
        one provider that is silent must not hold the sockets of all."""
        if self._in_flight[connection.id] >= MAX_IN_FLIGHT:
            raise Overloaded(
                f"{MAX_IN_FLIGHT} requests to the provider {connection.name!r} are under way, as "
                "many as may be at a time."
            )
        self._in_flight[connection.id] += 1

        def leave() -> None:
            self._in_flight[connection.id] -= 1
            if not self._in_flight[connection.id]:
                del self._in_flight[connection.id]

        return leave

    async def _ask(
        self,
        exchange: Exchange,
        connection: Connection,
        way: Passage,
        own: Credentials,
        body: bytes,
    ) -> Answer:
        headers = request_headers(exchange, connection, own)
        url = connection.base_url + way.path
        try:
            incoming = await self._outgoing.send(
                "POST", url, headers, body, silence=connection.timeout
            )
        except TRANSPORT as error:
            raise from_transport(connection.name, error) from error
        if incoming.status == 200 and exchange.stream and _streams(incoming):
            answer = StreamedAnswer(incoming, way, own, self._closing)
            try:
                exchange.first = await answer.begin()
            except BaseException:
                answer.close()
                raise
            exchange.cleanup.append(answer.close)
            return answer
        try:
            return await self._whole(exchange, way, incoming)
        finally:
            await incoming.close()

    async def _whole(self, exchange: Exchange, way: Passage, incoming: Incoming) -> Answer:
        provider, model = way.provider, way.target.name
        if incoming.status != 200:
            told = await self._told(incoming)
            raise from_answer(provider, model, incoming.status, incoming.headers, told)
        content = await whole(incoming, provider, MAX_ANSWER)
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise garbage(provider, _named(incoming)) from None
        if exchange.stream:
            if isinstance(document, dict) and document.get("error") is not None:
                raise from_event(provider, model, document)
            raise garbage(provider, f"{_named(incoming)} where a stream was asked for")
        made = way.whole(document)
        exchange.first = content if made is None else orjson.dumps(made)
        return WholeAnswer(b"")

    async def _told(self, incoming: Incoming) -> bytes:
        """What is said of a failure. Where that breaks off too, the status says enough."""
        try:
            return await incoming.read_some(MAX_ERROR)
        except TRANSPORT:
            return b""

    def _credentials(self, connection: Connection) -> Credentials:
        known = self._opened.get(connection.id)
        if known is not None and known[0] == connection:
            return known[1]
        own = connection.credentials(self._seal)
        if len(self._opened) >= 10_000:
            self._opened.clear()
        self._opened[connection.id] = connection, own
        return own

    async def probe(self, connection: Connection) -> Probe:
        """Ask a provider for its models, which costs nothing and takes the credentials."""
        own = connection.credentials(self._seal)
        started = time.perf_counter()
        models, told = None, None
        try:
            async with asyncio.timeout(PROBE_TIME):
                models = await self._offered(connection, own)
        except TimeoutError:
            told = from_transport(connection.name, httpcore.ReadTimeout())
        except LorikeetError as error:
            error.message = own.masked(error.message)
            told = error
        return Probe(time.perf_counter() - started, models, told)

    async def _offered(self, connection: Connection, own: Credentials) -> tuple[str, ...] | None:
        """The models that a provider lists, None where it lists none. Raises LorikeetError."""
        headers = credential_headers(connection.protocol, own)
        path = "/models"
        if connection.protocol is Protocol.ANTHROPIC:
            headers.append((b"anthropic-version", ANTHROPIC_VERSION))
            path = "/v1/models?limit=1000"
        try:
            reply = await self._outgoing.fetch(
                "GET",
                connection.base_url + path,
                headers,
                silence=min(PROBE_SILENCE, connection.timeout),
                most=MAX_PROBE,
            )
        except TRANSPORT as error:
            raise from_transport(connection.name, error) from error
        except BodyTooLarge:
            raise garbage(connection.name, f"more than {MAX_PROBE} bytes") from None
        if reply.status in (404, 405):  # it answers, and has no such list
            return None
        if reply.status != 200:
            raise from_answer(
                connection.name, connection.name, reply.status, reply.headers, reply.body
            )
        models = _models(reply.body)
        if models is None:
            raise garbage(connection.name, "no list of models")
        return models

    async def close(self) -> None:
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._outgoing.close()


def _streams(incoming: Incoming) -> bool:
    kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in _STREAMS


def _named(incoming: Incoming) -> str:
    kind = incoming.headers.get("content-type", "").partition(";")[0].strip()
    return kind[:100] or "no type of content"


def _models(body: bytes) -> tuple[str, ...] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    rows = document.get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        return None
    found = (row.get("id") for row in rows if isinstance(row, dict))
    return tuple(name for name in found if isinstance(name, str))
