"""Tenants of a running Lorikeet, made in its stores."""

import asyncio
from dataclasses import replace
from pathlib import Path

from bench.chat import Endpoint
from cluster.settings import Settings
from cluster.store.redis import connect
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import UNLIMITED_PLAN
from cluster.tenancy.keys import Keys
from cluster.tenancy.organizations import Organizations
from cluster.tenancy.principal import Scope


def tenant(home: Path, endpoint: Endpoint, slug: str) -> Endpoint:
    """The endpoint, as a new organization without limits asks it."""
    return replace(endpoint, key=asyncio.run(_key(Settings(home=home), slug)))


async def _key(settings: Settings, slug: str) -> str:
    database, redis = Database(settings.sql_url), connect(settings.redis)
    try:
        made = await Organizations(database).create(slug, slug, UNLIMITED_PLAN)
        organization, project = made.organization.id, made.project.id
        key = await Keys(database, redis).create(organization, project, "bench", {Scope.INFERENCE})
        return key.secret
    finally:
        await redis.aclose()
        await database.close()
