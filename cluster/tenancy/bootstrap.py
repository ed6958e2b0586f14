"""The first tenant: what a new installation needs before its first request.

The key is written to its file before its row: a crash between the two leaves a file without a row,
and the next start makes the row from the file. The other order would leave a row whose secret
nobody has.

Homes that share a database share its first key too: one of them holds it. An empty file asks for
a key of that home's own.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import ConfigurationError
from cluster.identifiers import new_id
from cluster.settings import Settings, write_secret
from cluster.store.schema import ApiKey, Organization, Plan, Project, now
from cluster.store.sql import Database, insert_missing, take_turns
from cluster.tenancy.keys import FORMAT, SHOWN, key_hash, new_secret
from cluster.tenancy.principal import Scope

UNLIMITED_PLAN = "unlimited"
DEFAULT = "default"
NAME = "admin"
"""Of the first key."""


@dataclass(frozen=True)
class FirstTenant:
    """The default organization and project, and where this home keeps the admin key if it does."""

    organization_id: str
    project_id: str
    key_file: Path


async def bootstrap(settings: Settings, database: Database) -> FirstTenant:
    """Make what is missing. Any number of processes may call it at once, at any time.

    Afterwards the key in `home`/admin.key is valid; one that was revoked or has expired is
    replaced, never revived. The file is not made where another home of the database has it.
    """
    path = settings.home / "admin.key"
    # Where the database is this home's alone, whoever removed the file wants a new key.
    shared = settings.database_url is not None and not path.exists()
    while True:
        async with database.begin() as session:
            organization_id, project_id = await _tenant(session)
            if shared:
                await take_turns(session, path.name)
                if await _has_key(session, organization_id):
                    return FirstTenant(organization_id, project_id, path)
            secret = _secret(path)
            hashed = key_hash(secret)
            row = {
                "id": new_id("key-"),
                "organization_id": organization_id,
                "project_id": project_id,
                "name": NAME,
                "hash": hashed,
                "prefix": secret[:SHOWN],
                "scopes": [Scope.ADMIN.value],
            }
            await insert_missing(session, ApiKey, [row])
            key = (await session.scalars(select(ApiKey).where(ApiKey.hash == hashed))).one()
        if _is_live(key):
            return FirstTenant(organization_id, project_id, path)
        _discard(path, secret)


def _is_live(key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now())


async def _has_key(session: AsyncSession, organization_id: str) -> bool:
    """Whether a key that was made here is still valid, whichever home holds it."""
    named = select(ApiKey).where(ApiKey.organization_id == organization_id, ApiKey.name == NAME)
    admin = [Scope.ADMIN.value]
    return any(_is_live(key) and key.scopes == admin for key in await session.scalars(named))


def _secret(path: Path) -> str:
    """The key in the file, made where there is none. Of several makers the first wins."""
    while True:
        try:
            secret = path.read_text().strip()
        except FileNotFoundError:
            write_secret(path, new_secret())
            continue
        if FORMAT.fullmatch(secret):
            return secret
        if secret:
            raise ConfigurationError(f"{path} holds no key; empty it to be given a new one.")
        _discard(path, secret)  # empty: the machine lost power while it was written


def _discard(path: Path, secret: str) -> None:
    """Remove the file if it still holds `secret`, not a successor that another process made."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_text().strip() != secret:
            with suppress(FileExistsError):
                path.hardlink_to(aside)
        aside.unlink()


async def _tenant(session: AsyncSession) -> tuple[str, str]:
    """The ids of the default organization and its project, made if they are missing."""
    await insert_missing(session, Plan, [{"key": UNLIMITED_PLAN}])
    organization = {
        "id": f"org-{DEFAULT}",  # fixed ids: of several first starts one wins and all agree
        "name": "Default",
        "slug": DEFAULT,
        "plan_key": UNLIMITED_PLAN,
        "cache_salt": secrets.token_hex(16),
    }
    await insert_missing(session, Organization, [organization])
    found = select(Organization.id).where(Organization.slug == DEFAULT)
    organization_id = (await session.scalars(found)).one()
    project = {
        "id": f"proj-{DEFAULT}",
        "organization_id": organization_id,
        "name": "Default",
        "is_default": True,
    }
    await insert_missing(session, Project, [project])
    return organization_id, str(project["id"])
