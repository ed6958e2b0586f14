"""Organizations and their projects."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from sqlalchemy import select

from cluster.errors import Conflict, InvalidRequest, NotFound
from cluster.identifiers import new_id
from cluster.store.schema import Organization, Plan, Project
from cluster.store.sql import Database

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class NewOrganization:
    """An organization with its default project."""

    organization: Organization
    project: Project


class Organizations:
    """Makes organizations and finds them by slug."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, slug: str, plan_key: str) -> NewOrganization:
        if not 1 <= len(name) <= 255:
            raise InvalidRequest("An organization's name has 1 to 255 characters.", param="name")
        if not SLUG.fullmatch(slug):
            raise InvalidRequest(
                f"{slug!r} is no slug: 1 to 63 of a-z, 0-9 and inner hyphens.", param="slug"
            )
        organization = Organization(
            id=new_id("org-"),
            name=name,
            slug=slug,
            plan_key=plan_key,
            cache_salt=secrets.token_hex(16),
        )
        project = Project(
            id=new_id("proj-"), organization_id=organization.id, name="Default", is_default=True
        )
        async with self._database.begin() as session:
            if await session.get(Plan, plan_key) is None:
                raise NotFound(f"There is no plan {plan_key!r}.", param="plan")
            if await session.scalar(select(Organization.id).where(Organization.slug == slug)):
                raise Conflict(f"The slug {slug!r} is taken.", param="slug")
            session.add(organization)
            await session.flush()  # the project's foreign key needs the row
            session.add(project)
        return NewOrganization(organization, project)

    async def find(self, slug: str) -> Organization:
        async with self._database.begin() as session:
            found = await session.scalar(select(Organization).where(Organization.slug == slug))
        if found is None:
            raise NotFound(f"There is no organization {slug!r}.", param="organization")
        return found
