"""The directory of live replicas: where they listen, what they hold, how busy they are.

Each replica writes its own record every second under a name that expires; nobody else writes it.
Routers pick replicas from it, the publisher counts acknowledgements in it, `status` shows it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from enum import StrEnum

import orjson
from redis.asyncio import Redis

from cluster.store.redis import REPLICA_CHANNEL, REPLICA_INDEX, replica_key

log = logging.getLogger(__name__)

HEARTBEAT = 1.0
EXPIRY = 5.0
"""Seconds after the last heartbeat at which a replica is taken for gone."""
LOOK_AHEAD = 8
"""One in so many requests in an engine may wait there, so that it finds one when another ends."""


def capacity(at_once: int) -> int:
    """Requests to be in an engine that runs so many at once."""
    return at_once + max(2, at_once // LOOK_AHEAD)


class Routing(StrEnum):
    """What a model's requests are spread by over its replicas."""

    LOAD = "load"
    PREFIX = "prefix"


@dataclass(frozen=True)
class Replica:
    """One replica as it last described itself.

    `address` is a unix socket's path for callers on `node`; `remote` is `host:port` for others,
    None where it listens on no network. `adapters` holds the engine's names of what is loaded,
    `failures` the reason for each that could not be.
    """

    model: str
    id: str
    node: str
    pid: int
    actor_id: str
    address: str
    remote: str | None = None
    adapters: frozenset[str] = frozenset()
    failures: dict[str, str] = field(default_factory=dict)
    application: str = ""
    """The Serve application that it belongs to; empty where Serve has no part in it."""
    capacity: int = 256
    """Requests that it takes at a time: what it runs at once, and the look-ahead."""
    look_ahead: int = 0
    """How many of those wait in it, so that it finds one when another ends."""
    running: int = 0
    waiting: int = 0
    places: int | None = None
    """Adapters that it holds at most; what it lacks it loads when it is asked for it. None where
    it holds all there are, and nothing else."""
    loading: float = 0.05
    """Seconds that it took lately to load an adapter."""
    duration: float = 0.0
    """Seconds that a request took lately."""
    routing: Routing = Routing.LOAD
    fields: dict[str, frozenset[str]] = field(default_factory=dict)
    """By endpoint, the paths of the body fields that the engine knows; one that ends with a dot
    says that the fields inside are known."""

    def encode(self) -> bytes:
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        document["adapters"] = sorted(self.adapters)
        document["fields"] = {name: sorted(known) for name, known in self.fields.items()}
        return orjson.dumps(document)

    @classmethod
    def decode(cls, content: bytes | str) -> Replica:
        document = orjson.loads(content)
        document["adapters"] = frozenset(document["adapters"])
        document["fields"] = {k: frozenset(v) for k, v in document["fields"].items()}
        document["routing"] = Routing(document.get("routing", Routing.LOAD))
        # A replica of a newer version may tell more of itself.
        return cls(**{k: v for k, v in document.items() if k in cls.__dataclass_fields__})


class ReplicaDirectory:
    """Raises redis' errors: what to do without Redis is each caller's decision."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._unreadable: set[bytes | str] = set()
        """The keys of records that were skipped, so that each is told of once."""

    async def announce(self, replica: Replica, *, changed: bool) -> None:
        """Write a replica's record; `changed` wakes those who wait for what it holds."""
        key = replica_key(replica.model, replica.id)
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(key, replica.encode(), px=int(EXPIRY * 1000))
        pipe.sadd(REPLICA_INDEX, key)
        if changed:
            pipe.publish(REPLICA_CHANNEL, replica.model)
        await pipe.execute()

    async def withdraw(self, model: str, replica_id: str) -> None:
        """Take a replica out: it will accept no new request."""
        key = replica_key(model, replica_id)
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(key)
        pipe.srem(REPLICA_INDEX, key)
        pipe.publish(REPLICA_CHANNEL, model)
        await pipe.execute()

    async def read(self) -> dict[str, list[Replica]]:
        """All live replicas by model. A record that another version wrote may be skipped."""
        keys = sorted(await self._redis.smembers(REPLICA_INDEX))
        if not keys:
            return {}
        by_model: dict[str, list[Replica]] = {}
        gone, unreadable = [], set()
        for key, content in zip(keys, await self._redis.mget(keys), strict=True):
            if content is None:
                gone.append(key)
                continue
            try:
                replica = Replica.decode(content)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                unreadable.add(key)
                if key not in self._unreadable:
                    log.warning("the record of a replica, %r, is not understood: %r", key, error)
                continue
            by_model.setdefault(replica.model, []).append(replica)
        self._unreadable = unreadable
        if gone:
            await self._redis.srem(REPLICA_INDEX, *gone)
        return by_model
