"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select

from cluster.errors import InvalidRequest, NotFound, Unauthenticated
from cluster.identifiers import new_id
from cluster.store.page import Page, fetch_page
from cluster.store.redis import KEYS_CHANNEL
from cluster.store.schema import ApiKey, Project, now
from cluster.store.sql import Database
from cluster.tenancy.principal import Scope

log = logging.getLogger(__name__)

FORMAT = re.compile(r"lk-[A-Za-z0-9_-]{43}")
SHOWN = len("lk-") + 6
"""How much of a key is kept for display: 36 of its 256 bits."""
MAX_LIST = 10_000


def new_secret() -> str:
    return "lk-" + secrets.token_urlsafe(32)


def key_hash(secret: str) -> str:
    """A plain hash suffices: the secret has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer_secret(authorization: str | None) -> str:
    """The key in an `Authorization` header. Raises Unauthenticated, which never echoes it."""
    if not authorization:
        raise Unauthenticated(
            "There is no API key. Send it in the header 'Authorization: Bearer lk-...'."
        )
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("The Authorization header must be 'Bearer' and an API key.")
    secret = secret.strip()
    if not FORMAT.fullmatch(secret):
        raise Unauthenticated("The API key is malformed: 'lk-' and 43 characters are expected.")
    return secret


@dataclass(frozen=True)
class NewKey:
    """The only time that the secret is seen."""

    secret: str = field(repr=False)
    row: ApiKey


class Keys:
    """Creates, lists and revokes the keys of an organization."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    async def create(
        self,
        organization_id: str,
        project_id: str,
        name: str,
        scopes: Collection[Scope],
        *,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """Raises InvalidRequest for a wrong field, NotFound for a project of somebody else."""
        if not 1 <= len(name) <= 255:
            raise InvalidRequest("A key's name has 1 to 255 characters.", param="name")
        if not scopes:
            raise InvalidRequest("A key has at least one scope.", param="scopes")
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now()):
            raise InvalidRequest(
                "expires_at must be a time in the future, with its zone.", param="expires_at"
            )
        secret = new_secret()
        row = ApiKey(
            id=new_id("key-"),
            organization_id=organization_id,
            project_id=project_id,
            name=name,
            hash=key_hash(secret),
            prefix=secret[:SHOWN],
            scopes=sorted(scope.value for scope in scopes),
            expires_at=expires_at,
        )
        async with self._database.begin() as session:
            project = await session.get(Project, project_id)
            if project is None or project.organization_id != organization_id:
                raise NotFound(f"There is no project {project_id!r}.", param="project_id")
            session.add(row)
        return NewKey(secret, row)

    async def list(
        self, organization_id: str, *, after: str | None = None, limit: int = MAX_LIST
    ) -> Page[ApiKey]:
        """The newest first, the revoked ones too. Raises InvalidRequest."""
        async with self._database.begin() as session:
            return await fetch_page(
                session,
                select(ApiKey).where(ApiKey.organization_id == organization_id),
                (ApiKey.created_at, ApiKey.id),
                after=after,
                limit=limit,
                max_limit=MAX_LIST,
            )

    async def revoke(self, organization_id: str, key_id: str) -> ApiKey:
        """End a key on every router within a second. Again is the same as once."""
        async with self._database.begin() as session:
            row = await session.get(ApiKey, key_id)
            if row is None or row.organization_id != organization_id:
                raise NotFound(f"There is no key {key_id!r}.", param="key_id")
            row.revoked_at = row.revoked_at or now()
        await announce(self._redis, [row.hash])
        return row


async def announce(redis: Redis, hashes: Iterable[str]) -> None:
    """Tell every router to read these keys again. Call it after the commit.

    With Redis away nobody hears it: routers then read a key again when its time in their cache is
    over, or when Redis is back, whichever comes first.
    """
    try:
        async with redis.pipeline(transaction=False) as pipeline:
            for hashed in hashes:
                pipeline.publish(KEYS_CHANNEL, hashed)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        log.warning("a change of keys was not announced, caches time out instead: %s", error)
