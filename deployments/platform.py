"""The stores as every deployment opens them."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from cluster.catalog.adapters import AdapterRegistry
from cluster.catalog.replicas import ReplicaDirectory
from cluster.embedded.redis_actor import ensure_redis
from cluster.settings import Settings, settings
from cluster.store.artifacts import Artifacts
from cluster.store.redis import connect
from cluster.store.sql import Database, upgrade
from cluster.tenancy.bootstrap import bootstrap
from deployments import logs


@dataclass(frozen=True)
class Platform:
    settings: Settings
    database: Database
    redis: Redis
    artifacts: Artifacts

    @property
    def registry(self) -> AdapterRegistry:
        return AdapterRegistry(self.database, self.artifacts, self.redis)

    @property
    def directory(self) -> ReplicaDirectory:
        return ReplicaDirectory(self.redis)


async def open_platform() -> Platform:
    """Open the stores, starting and filling the embedded ones where none is there yet.

    Whichever deployment comes first does the work; it is safe for all to do it at once.
    """
    logs.configure()
    chosen = settings()
    await ensure_redis(chosen)
    await upgrade(chosen)
    database = Database(chosen.sql_url)
    await bootstrap(chosen, database)
    return Platform(chosen, database, connect(chosen.redis), Artifacts(chosen.artifacts))
