"""The Redis client and the name of every key in it, in one place."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    ClusterError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

CATALOG_VERSION = "lorikeet:catalog:version"
CATALOG_CHANNEL = "lorikeet:catalog"
"""Published with the new version whenever a model, an adapter or an alias changes."""
KEYS_CHANNEL = "lorikeet:keys"
"""Published with a key's hash when it is revoked or changed."""
REPLICA_CHANNEL = "lorikeet:replicas"
"""Published with a model's name when one of its replicas comes, goes, loads or unloads."""
REPLICA_INDEX = "lorikeet:replicas:index"
"""The keys of all replicas' records; the records themselves expire."""
ROUTERS = "lorikeet:routers"
"""The live routers, by their last sign of life."""
USAGE_STREAM = "lorikeet:usage"
USAGE_GROUP = "recorder"
USAGE_DEAD = "lorikeet:usage:dead"
"""Usage messages that no row can be made of, each with its reason."""


def replica_key(model: str, replica: str) -> str:
    return f"lorikeet:replica:{model}:{replica}"


def adapter_uses_key(model: str) -> str:
    """A sorted set: the adapters of a base model by the time of their last use."""
    return f"lorikeet:adapters:used:{model}"


def limits_key(organization: str) -> str:
    return f"lorikeet:limits:{{{organization}}}"


def is_outage(error: Exception) -> bool:
    """Whether Redis is away or serves nobody; else it refuses what this one call asks for."""
    if not isinstance(error, ResponseError):
        return True
    states = (
        ClusterError, MasterDownError, NoPermissionError, OutOfMemoryError, ReadOnlyError,
    )  # fmt: skip
    return isinstance(error, states) or str(error).startswith(("BUSY ", "MISCONF ", "NOREPLICAS "))


def connect(url: str, *, timeout: float = 1.0) -> Redis:
    """A client of `url`. Opens no connection yet; calls fail within about `timeout` seconds."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 1),
    )
    pool.connection_class = PROMPT[pool.connection_class]
    return Redis.from_pool(pool)  # unlike the constructor: `aclose` then closes the pool


class _Prompt(AbstractConnection):
    """Bounds a write by a timeout that keeps a cancellation.

    redis-py does it by `asyncio.wait_for`. In Python 3.11 that swallows a cancellation which comes
    just as the write ends, and a loop around it never stops; it also makes a task per command.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        timeout, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise RedisTimeout("Timeout writing to socket") from None
        finally:
            self.socket_timeout = timeout


class _PromptTcp(_Prompt, Connection):
    pass


class _PromptTls(_Prompt, SSLConnection):
    pass


class _PromptUnix(_Prompt, UnixDomainSocketConnection):
    pass


PROMPT: dict[type[AbstractConnection], type[_Prompt]] = {
    Connection: _PromptTcp,
    SSLConnection: _PromptTls,
    UnixDomainSocketConnection: _PromptUnix,
}
