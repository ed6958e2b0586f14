"""Clients of what is stored, beside a pipeline that stores it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
from openai import AsyncOpenAI

from cluster.stored.completions import Completions
from cluster.stored.responses import Responses
from cluster.tenancy.principal import Limits, Principal, Scope
from deployments.router.dialects.openai import completions, responses
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.serving import answering


@dataclass
class Part:
    """Of `deployments.router.services.Services`, what these routes use."""

    responses: Responses
    completions: Completions


@asynccontextmanager
async def client(
    rig: Rig, *scopes: Scope, organization_id: str | None = None
) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client of the routes, with a key of these scopes."""
    tenant = rig.tenant
    who = Principal(
        tenant.organization_id, "default", tenant.project_id, "key-1",
        frozenset(scopes or (Scope.INFERENCE,)), Limits(), "",
    )  # fmt: skip
    if organization_id is not None:
        who = replace(who, organization_id=organization_id)
    part = Part(
        Responses(rig.platform.database, rig.settings.body_max_bytes),
        Completions(rig.platform.database),
    )
    app = answering(part, lambda _: who, responses.router, completions.router)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/v1")
    async with AsyncOpenAI(
        api_key="x", base_url="http://test/v1", max_retries=0, http_client=http
    ) as made:
        yield made
