"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TypedDict

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from cluster.identifiers import new_id
from cluster.store.page import Page, fetch_page
from cluster.store.redis import KEYS_CHANNEL
from cluster.store.schema import ApiKey, Project, now
from cluster.store.sql import Database, take_turns
from cluster.tenancy.allowed_models import checked_patterns
from cluster.tenancy.budget import Budget, Terms, new_budget
from cluster.tenancy.principal import Limits, Scope, check_limits

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


class KeyFields(TypedDict, total=False):
    """What may be changed of a key."""

    name: str
    scopes: Collection[Scope]
    expires_at: datetime | None
    models: Sequence[str] | None
    limits: Mapping[str, int | None]
    """Those to change, by the names of `Limits`."""
    budget: Terms | None


class Keys:
    """Creates, changes, lists and revokes the keys of an organization."""

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
        models: Sequence[str] | None = None,
        limits: Limits | None = None,
        budget: Terms | None = None,
    ) -> NewKey:
        """Raises InvalidRequest for a wrong field, NotFound for a project of somebody else."""
        secret = new_secret()
        row = ApiKey(
            id=new_id("key-"),
            organization_id=organization_id,
            project_id=project_id,
            hash=key_hash(secret),
            prefix=secret[:SHOWN],
        )
        fields = KeyFields(name=name, scopes=scopes, models=models, budget=budget)
        fields["expires_at"], fields["limits"] = expires_at, asdict(limits or Limits())
        _fill(row, fields)
        async with self._database.begin() as session:
            project = await session.get(Project, project_id)
            if project is None or project.organization_id != organization_id:
                raise NotFound(f"There is no project {project_id!r}.", param="project_id")
            session.add(row)
        return NewKey(secret, row)

    async def change(self, organization_id: str, key_id: str, changes: KeyFields) -> ApiKey:
        """Change some of what a key is, on every router within a second; the rest stays.

        Raises InvalidRequest, NotFound, and Conflict where the key is revoked.
        """
        async with self._database.begin() as session:
            await take_turns(session, key_id)  # two changes at once are both kept
            row = await _find(session, organization_id, key_id)
            if row.revoked_at is not None:
                raise Conflict(f"The key {key_id!r} is revoked.", param="key_id")
            _fill(row, changes)
        await announce(self._redis, [row.hash])
        return row

    async def find(self, organization_id: str, key_id: str) -> ApiKey:
        """Raises NotFound."""
        async with self._database.begin() as session:
            return await _find(session, organization_id, key_id)

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
            row = await _find(session, organization_id, key_id)
            row.revoked_at = row.revoked_at or now()
        await announce(self._redis, [row.hash])
        return row


async def _find(session: AsyncSession, organization_id: str, key_id: str) -> ApiKey:
    row = await session.get(ApiKey, key_id)
    if row is None or row.organization_id != organization_id:
        raise NotFound(f"There is no key {key_id!r}.", param="key_id")
    return row


def _fill(row: ApiKey, fields: KeyFields) -> None:
    """Raises InvalidRequest for a field that is wrong."""
    if "name" in fields:
        if not 1 <= len(fields["name"]) <= 255:
            raise InvalidRequest("A key's name has 1 to 255 characters.", param="name")
        row.name = fields["name"]
    if "scopes" in fields:
        if not fields["scopes"]:
            raise InvalidRequest("A key has at least one scope.", param="scopes")
        row.scopes = sorted(scope.value for scope in fields["scopes"])
    if "expires_at" in fields:
        expires_at = fields["expires_at"]
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now()):
            raise InvalidRequest(
                "expires_at must be a time in the future, with its zone.", param="expires_at"
            )
        row.expires_at = expires_at
    if "models" in fields:
        models = fields["models"]
        row.models = None if models is None else checked_patterns(models)
    if "limits" in fields:
        limits = replace(Limits(**(row.limits or {})), **fields["limits"])
        check_limits(limits, "limits.")
        row.limits = None if limits.none else asdict(limits)
    if "budget" in fields:
        terms = fields["budget"]
        before = Budget.from_json(row.budget)
        row.budget = None if terms is None else new_budget(terms, before).to_json()


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
