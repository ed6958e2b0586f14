"""A small app with the routes for files and fine-tunes, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openai import AsyncOpenAI

from cluster.errors import LorikeetError
from cluster.files.files import Files
from cluster.tenancy.principal import Principal, Scope
from deployments.router.dialects.openai import errors, files, fine_tuning
from tests.cluster.jobs.world import World


@dataclass
class Served:
    """One caller's clients."""

    http: httpx.AsyncClient
    openai: AsyncOpenAI
    world: World


@dataclass
class Part:
    """Of `deployments.router.services.Services`, what these routes use."""

    files: Files
    jobs: object


def app(world: World, who: Principal) -> FastAPI:
    settings = world.settings.model_copy(update={"upload_max_bytes": 11 << 20})
    store = Files(world.database, world.artifacts, settings)
    return answering(Part(store, world.jobs), lambda _: who, files.router, fine_tuning.router)


def answering(
    services: object, caller: Callable[[Request], Principal], *routers: APIRouter
) -> FastAPI:
    """An app with these routes, and errors in the dialect's shape."""
    served = FastAPI()
    served.state.lorikeet = services
    for router in routers:
        served.include_router(router)

    @served.middleware("http")
    async def authenticate(request: Request, call_next):  # type: ignore[no-untyped-def]
        request.state.principal = caller(request)
        return await call_next(request)

    @served.exception_handler(LorikeetError)
    async def known(request: Request, error: LorikeetError) -> JSONResponse:
        return JSONResponse(errors.body(error), error.status)

    @served.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = errors.from_validation(error.errors())
        return JSONResponse(errors.body(found), found.status)

    return served


async def serve(world: World, who: Principal) -> AsyncIterator[Served]:
    transport = httpx.ASGITransport(app(world, who))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        AsyncOpenAI(
            api_key="x",
            base_url="http://test/v1",
            max_retries=0,
            http_client=httpx.AsyncClient(transport=transport),
        ) as openai,
    ):
        yield Served(http, openai, world)


@pytest.fixture
async def ann(world: World) -> AsyncIterator[Served]:
    async for served in serve(world, world.ann):
        yield served


@pytest.fixture
async def bob(world: World) -> AsyncIterator[Served]:
    async for served in serve(world, world.bob):
        yield served


@pytest.fixture
async def inferring(world: World) -> AsyncIterator[Served]:
    """A key that may not train."""
    who = replace(world.ann, scopes=frozenset({Scope.INFERENCE}))
    async for served in serve(world, who):
        yield served
