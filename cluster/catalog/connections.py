"""The connections of an organization to other providers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.announce import announce
from cluster.catalog.connection import (
    HOME,
    Connection,
    Protocol,
    check_headers,
    check_models,
    check_name,
    check_secret,
)
from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.identifiers import new_id
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.url import checked_url
from cluster.seal import Seal, Unopened
from cluster.store.page import Order, Page, fetch_page
from cluster.store.schema import ConnectionRow, now
from cluster.store.sql import Database, take_turns

log = logging.getLogger(__name__)

MAX_LIST = 100
MAX_CONNECTIONS = 100
"""Of one organization: every router holds them all."""
DEFAULT_TIMEOUT = 300.0
MIN_TIMEOUT, MAX_TIMEOUT = 1.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be set; None stays as it is. The secret has a call of its own."""

    base_url: str | None = None
    headers: dict[str, str] | None = None
    models: list[str] | None = None
    timeout: float | None = None
    enabled: bool | None = None


class Connections:
    """The one writer of connections. Routers read them from the catalogue."""

    def __init__(self, database: Database, redis: Redis, seal: Seal, allowance: Allowance) -> None:
        self._database = database
        self._redis = redis
        self._seal = seal
        self._allowance = allowance

    async def create(
        self,
        organization_id: str,
        key_id: str,
        name: str,
        protocol: Protocol,
        secret: str | None,
        change: Change,
    ) -> ConnectionRow:
        """Raises InvalidRequest for values that can't be, and Conflict for a name that is taken."""
        check_name(name)
        row = ConnectionRow(
            id=new_id("conn-"), organization_id=organization_id, name=name, protocol=protocol.value,
            base_url=HOME[protocol], header_names=[], models=[], timeout=DEFAULT_TIMEOUT,
            enabled=True,
        )  # fmt: skip
        self._apply(row, key_id, change)
        if secret is not None:
            self._set_secret(row, secret)
        async with self._database.begin() as session:
            await take_turns(session, f"connections {organization_id}")
            mine = select(ConnectionRow.name).where(
                ConnectionRow.organization_id == organization_id
            )
            names = (await session.scalars(mine)).all()
            if name in names:
                raise Conflict(f"There is a connection {name!r} already.", param="name")
            if len(names) >= MAX_CONNECTIONS:
                raise Conflict(
                    f"There are {len(names)} connections; at most {MAX_CONNECTIONS} are kept."
                )
            session.add(row)
        await announce(self._redis)
        return row

    async def change(
        self, organization_id: str, key_id: str, name: str, change: Change
    ) -> ConnectionRow:
        """Raises NotFound, and InvalidRequest for values that can't be.

        Where the address becomes another host's, the secret and the headers go: they were meant for
        the one before.
        """
        async with self._database.begin() as session:
            row = await _claimed(session, organization_id, name)
            before = urlsplit(row.base_url)
            self._apply(row, key_id, change)
            after = urlsplit(row.base_url)
            if (before.scheme, before.netloc) != (after.scheme, after.netloc):
                row.secret = row.secret_changed_at = None
                if change.headers is None:
                    row.headers, row.header_names = None, []
        await announce(self._redis)
        return row

    async def rotate(
        self, organization_id: str, key_id: str, name: str, secret: str
    ) -> ConnectionRow:
        """Another secret from the next request on. Raises NotFound and InvalidRequest."""
        check_secret(secret)
        async with self._database.begin() as session:
            row = await _claimed(session, organization_id, name)
            row.key_id = key_id
            self._set_secret(row, secret)
        await announce(self._redis)
        return row

    def trial(self, row: ConnectionRow, secret: str) -> Connection:
        """The connection as it would be with another secret."""
        return replace(compose(row), secret=self._seal.close(secret))

    async def remove(self, organization_id: str, name: str) -> None:
        """Its models are unknown from the next request on. Raises NotFound."""
        async with self._database.begin() as session:
            await session.delete(await _claimed(session, organization_id, name))
        await announce(self._redis)

    async def get(self, organization_id: str, name: str) -> ConnectionRow:
        """Raises NotFound."""
        async with self._database.begin() as session:
            return await _present(session, organization_id, name)

    async def page(
        self, organization_id: str, *, after: str | None, limit: int, order: Order
    ) -> Page[ConnectionRow]:
        """Raises InvalidRequest for a wrong limit or cursor."""
        mine = select(ConnectionRow).where(ConnectionRow.organization_id == organization_id)
        async with self._database.begin() as session:
            return await fetch_page(
                session, mine, (ConnectionRow.created_at, ConnectionRow.id),
                after=after, limit=limit, max_limit=MAX_LIST, order=order,
            )  # fmt: skip

    async def renew(self) -> int:
        """Seal with the newest key what is sealed with an older one. How many rows that were."""
        renewed = 0
        async with self._database.begin() as session:
            await take_turns(session, "seals")
            for row in await session.scalars(select(ConnectionRow).with_for_update()):
                try:
                    fresh = [
                        None if sealed is None else self._seal.renewed(sealed)
                        for sealed in (row.secret, row.headers)
                    ]
                except Unopened as error:
                    log.warning("connection %s: %s", row.id, error)
                    continue
                if fresh != [None, None]:
                    row.secret, row.headers = fresh[0] or row.secret, fresh[1] or row.headers
                    renewed += 1
        return renewed

    def _set_secret(self, row: ConnectionRow, secret: str) -> None:
        check_secret(secret)
        row.secret = self._seal.close(secret)
        row.secret_changed_at = now()

    def _apply(self, row: ConnectionRow, key_id: str, change: Change) -> None:
        row.key_id = key_id
        if change.base_url is not None:
            url = checked_url(change.base_url, self._allowance, param="base_url", query=False)
            row.base_url = _plain(url, Protocol(row.protocol))
        if change.headers is not None:
            headers = check_headers(change.headers)
            row.headers = self._seal.close(json.dumps(headers)) if headers else None
            row.header_names = list(headers)
        if change.models is not None:
            check_models(change.models)
            row.models = list(dict.fromkeys(change.models))
        if change.timeout is not None:
            if not MIN_TIMEOUT <= change.timeout <= MAX_TIMEOUT:
                raise InvalidRequest(
                    f"timeout is {change.timeout:g}; allowed are {MIN_TIMEOUT:g} to "
                    f"{MAX_TIMEOUT:g} seconds.",
                    param="timeout",
                )
            row.timeout = change.timeout
        if change.enabled is not None:
            row.enabled = change.enabled


def _plain(url: str, protocol: Protocol) -> str:
    """The address as the SDKs of the protocol take it: OpenAI's ends with a version, Anthropic's
    does not."""
    if protocol is Protocol.ANTHROPIC:
        return url.removesuffix("/v1")
    return url if urlsplit(url).path else f"{url}/v1"


async def _claimed(session: AsyncSession, organization_id: str, name: str) -> ConnectionRow:
    """The connection, for nobody else to change until the transaction ends: a secret that is set
    meanwhile would come together with an address that it is not for. Raises NotFound."""
    await take_turns(session, f"connections {organization_id}")
    return await _present(session, organization_id, name, lock=True)


async def _present(
    session: AsyncSession, organization_id: str, name: str, *, lock: bool = False
) -> ConnectionRow:
    """Raises NotFound."""
    query = select(ConnectionRow).where(
        ConnectionRow.organization_id == organization_id, ConnectionRow.name == name
    )
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(f"There is no connection {name[:200]!r}.", param="name")
    return row


async def present_connections(session: AsyncSession) -> Sequence[Connection]:
    """Those of all organizations, oldest first."""
    rows = select(ConnectionRow).order_by(ConnectionRow.created_at, ConnectionRow.id)
    return [compose(row) for row in await session.scalars(rows)]


def compose(row: ConnectionRow) -> Connection:
    return Connection(
        id=row.id, organization_id=row.organization_id, name=row.name,
        protocol=Protocol(row.protocol), base_url=row.base_url, models=tuple(row.models),
        timeout=row.timeout, enabled=row.enabled, created=int(row.created_at.timestamp()),
        secret=row.secret, headers=row.headers,
    )  # fmt: skip
