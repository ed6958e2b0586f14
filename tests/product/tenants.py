"""Organizations of a test's own in a running product, which offers no API for making them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping

from cluster.settings import Settings
from cluster.store.redis import connect
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import UNLIMITED_PLAN
from cluster.tenancy.keys import Keys
from cluster.tenancy.organizations import Organizations
from cluster.tenancy.plans import Plans
from cluster.tenancy.principal import Scope
from tests.product.product import Product


def new_key(
    product: Product, scopes: Collection[Scope], limits: Mapping[str, int] | None = None
) -> str:
    """The key of a new organization: whatever is done with it, no other test sees it."""
    return asyncio.run(_new_key(product, scopes, limits or {}))


async def _new_key(product: Product, scopes: Collection[Scope], limits: Mapping[str, int]) -> str:
    settings = Settings(home=product.home)
    database, redis = Database(settings.sql_url), connect(settings.redis)
    try:
        slug = f"test-{secrets.token_hex(4)}"
        made = await Organizations(database).create(slug, slug, UNLIMITED_PLAN)
        if limits:
            await Plans(database, redis).change(made.organization.id, dict(limits))
        key = await Keys(database, redis).create(
            made.organization.id, made.project.id, "test", scopes
        )
        return key.secret
    finally:
        await redis.aclose()
        await database.close()
