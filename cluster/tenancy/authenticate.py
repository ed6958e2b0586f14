"""From an `Authorization` header to a principal.

The cache answers nearly every request. An entry is read again from SQL when its time is over, when
Redis says that the key changed, and after each gap in what Redis could have said. While SQL is
away, known keys are served as they were last seen and unknown ones get a 503: never a 401, which
would tell a client to throw a good key away.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError
from sqlalchemy import select

from cluster.errors import Unauthenticated, Unavailable
from cluster.store.outage import Outage
from cluster.store.redis import KEYS_CHANNEL
from cluster.store.schema import ApiKey, Organization, Plan, now
from cluster.store.sql import Database
from cluster.tenancy.allowed_models import allowed_models
from cluster.tenancy.budget import Budget
from cluster.tenancy.keys import bearer_secret, key_hash
from cluster.tenancy.last_used import LastUsed
from cluster.tenancy.plans import limits_of
from cluster.tenancy.principal import Limits, Principal, Scope

log = logging.getLogger(__name__)
Value = TypeVar("Value")

PATIENCE = 2.0
"""How long a known key waits for SQL before it is served as last seen."""
LONGEST_WAIT = 6.0
"""How long an unknown key waits for SQL."""
RECHECK = 1.0
"""How long such an answer holds."""
REFUSAL_SECONDS = 5.0
"""How long an unknown key stays unknown without asking again."""
LONGEST_SILENCE = 3
"""Unanswered pings, one a second, after which the connection to Redis is taken for dead."""


@dataclass(slots=True)
class Entry:
    principal: Principal
    fresh_until: float
    """By the monotonic clock; never later than the key's own expiry."""


@dataclass(frozen=True, slots=True)
class Refusal:
    sentence: str
    until: float


class Authenticator:
    """Knows the principals behind keys. Start `run` beside it."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        *,
        cache_seconds: float = 30.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_used = LastUsed(database)
        self._database = database
        self._redis = redis
        self._cache_seconds = cache_seconds
        self._capacity = capacity
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._refusals: dict[str, Refusal] = {}
        self._loading: dict[str, asyncio.Task[Entry | Refusal | None]] = {}
        self._changes = 0
        """Counts announcements, so that a read that one of them overtook is not kept."""
        self._sql = Outage("the database (keys)")

    async def authenticate(self, authorization: str | None) -> Principal:
        """Raises Unauthenticated, or Unavailable where the key is unknown and SQL is away."""
        if authorization is not None and authorization[:7] == "Bearer ":
            hashed = hashlib.sha256(authorization[7:].encode("utf-8", "replace")).hexdigest()
            entry = self._entries.get(hashed)
            if entry is not None and entry.fresh_until > self._clock():
                self.last_used.mark(entry.principal.key_id)
                return entry.principal
        secret = bearer_secret(authorization)
        principal = await self._read(key_hash(secret))
        self.last_used.mark(principal.key_id)
        return principal

    async def run(self) -> None:
        """Hear of changed keys and write down used ones, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self.last_used.run())

    async def close(self) -> None:
        """Write down what was used. Cancel `run` before."""
        for task in list(self._loading.values()):
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT):
                await self.last_used.flush()

    async def _read(self, hashed: str) -> Principal:
        refusal = self._refusals.get(hashed)
        if refusal is not None and refusal.until > self._clock():
            raise Unauthenticated(refusal.sentence)
        known = self._entries.get(hashed)
        if known is not None and _is_over(known.principal.expires_at):
            raise Unauthenticated("This API key has expired.")
        if known is not None and known.fresh_until > self._clock():
            return known.principal  # only the header was unusual
        task = self._loading.get(hashed)
        if task is None:
            task = self._loading[hashed] = asyncio.create_task(self._load(hashed))
            task.add_done_callback(lambda _: self._loading.pop(hashed, None))
        if known is None:
            await asyncio.wait({task}, timeout=LONGEST_WAIT)
        elif self._sql.since is None:  # else the read goes on behind us and nobody waits for it
            await asyncio.wait({task}, timeout=PATIENCE)
        outcome = task.result() if task.done() and not task.cancelled() else None
        if isinstance(outcome, Refusal):
            raise Unauthenticated(outcome.sentence)
        if outcome is not None:
            return outcome.principal
        last_seen = self._entries.get(hashed)
        if last_seen is None:  # never seen, or revoked while we waited
            raise Unavailable("The API key cannot be checked now: the database does not answer.")
        self._keep_fresh(last_seen, RECHECK)
        return last_seen.principal

    async def _load(self, hashed: str) -> Entry | Refusal | None:
        """Read the key and remember the outcome. None where SQL is away."""
        try:
            while True:
                changes = self._changes
                row = await self._select(hashed)
                if changes == self._changes:
                    break
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("reading an API key failed")
            self._sql.failed(error)
            return None
        self._sql.succeeded()
        if isinstance(row, Principal):
            entry = Entry(row, 0.0)
            self._keep_fresh(entry, self._cache_seconds)
            self._refusals.pop(hashed, None)
            _put(self._entries, hashed, entry, self._capacity)
            return entry
        refusal = Refusal(row, self._clock() + REFUSAL_SECONDS)
        self._entries.pop(hashed, None)
        _put(self._refusals, hashed, refusal, self._capacity)
        return refusal

    async def _select(self, hashed: str) -> Principal | str:
        """The principal, or the sentence that says why there is none."""
        query = (
            select(ApiKey, Organization, Plan)
            .join(Organization, Organization.id == ApiKey.organization_id)
            .join(Plan, Plan.key == Organization.plan_key)
            .where(ApiKey.hash == hashed)
        )
        async with self._database.begin() as session:
            row = (await session.execute(query)).one_or_none()
        if row is None:
            return "This API key is not known here."
        key, organization, plan = row
        if key.revoked_at is not None:
            return "This API key has been revoked."
        if _is_over(key.expires_at):
            return "This API key has expired."
        return Principal(
            organization_id=organization.id,
            organization_slug=organization.slug,
            project_id=key.project_id,
            key_id=key.id,
            scopes=frozenset(scope for scope in Scope if scope in key.scopes),
            limits=limits_of(plan),
            cache_salt=organization.cache_salt,
            expires_at=key.expires_at,
            budget=Budget.from_json(organization.budget),
            key_limits=Limits(**(key.limits or {})),
            key_budget=Budget.from_json(key.budget),
            models=allowed_models(key.models),
        )

    def _keep_fresh(self, entry: Entry, seconds: float) -> None:
        expires_at = entry.principal.expires_at
        if expires_at is not None:
            seconds = min(seconds, (expires_at - now()).total_seconds())
        entry.fresh_until = self._clock() + seconds

    async def _listen(self) -> None:
        redis = Outage("Redis (revocations)")
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(KEYS_CHANNEL)
                    silence = 0
                    while silence <= LONGEST_SILENCE:
                        message = await channel.get_message(timeout=1.0)
                        if message is None:
                            silence += 1
                            await channel.ping()
                            continue
                        silence = 0
                        redis.succeeded()
                        self._hear(message["type"], message["data"])
                    raise RedisGone("no answer to pings")
            except (RedisError, OSError) as error:
                redis.failed(error)
            await asyncio.sleep(0.2)

    def _hear(self, kind: str, data: bytes | int) -> None:
        if kind == "subscribe":
            # The first subscription, or one after a gap in which announcements were lost.
            self._changes += 1
            self._refusals.clear()
            for entry in self._entries.values():
                entry.fresh_until = 0.0
        elif kind == "message" and isinstance(data, bytes):
            # Dropped, not only marked stale: a revoked key must not be served while SQL is away.
            self._changes += 1
            self._entries.pop(data.decode(), None)
            self._refusals.pop(data.decode(), None)


def _is_over(expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= now()


def _put(cache: dict[str, Value], hashed: str, value: Value, capacity: int) -> None:
    """Keep `value`, and let the one go that was put first where there is no room."""
    cache.pop(hashed, None)
    if len(cache) >= capacity:
        del cache[next(iter(cache))]
    cache[hashed] = value
