"""The router's Serve deployment: wires the steps, mounts the routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import ray
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig
from redis.asyncio import Redis
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.catalog.aliases import Aliases
from cluster.catalog.catalog import Catalog
from cluster.catalog.price_book import PriceBook
from cluster.catalog.prices import Prices
from cluster.catalog.route import Route
from cluster.catalog.virtual_models import VirtualModels
from cluster.errors import Internal, InvalidRequest, LorikeetError, MethodNotAllowed, NotFound
from cluster.files.files import Files
from cluster.jobs.jobs import Jobs
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.usage.meter import Meter
from deployments.platform import Platform, open_platform
from deployments.router import health
from deployments.router.admit import Admit
from deployments.router.authenticate import Authenticate
from deployments.router.dialects.anthropic.parse import ParseMessages
from deployments.router.dialects.openai import (
    adapters,
    aliases,
    budget,
    errors,
    files,
    fine_tuning,
    keys,
    limits,
    models,
    prices,
    usage,
    virtual_models,
)
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.parse import ParseInference
from deployments.router.dialects.openai.tokens import ParseTokens
from deployments.router.dispatch import Dispatch
from deployments.router.embed import Embed, ParseEmbedding, ask_embedder
from deployments.router.engines import Engines
from deployments.router.enter import Enter
from deployments.router.exchange import Exchange
from deployments.router.gate import Gate
from deployments.router.name import Name
from deployments.router.openapi import describe
from deployments.router.pipeline import Pipeline, Step
from deployments.router.read import Read
from deployments.router.replicas import ReplicaPool
from deployments.router.resolve import Resolve
from deployments.router.serve_view import ServeView
from deployments.router.services import Services
from deployments.router.settle import Settle
from deployments.router.shadow import Shadow
from deployments.router.stream import Stream
from deployments.router.upstream import Upstreams
from deployments.scale import Scale, Strict


class RouterArgs(Strict):
    """The ingress in `serve_config.yaml`."""

    max_ongoing: int = Field(1000, ge=1)
    """Requests in flight in one router replica."""
    drain: float = Field(600.0, ge=0)
    """Seconds that requests in flight have to end when a replica is stopped: by default as long as
    `request_timeout` lets one run, since one that is cut here leaves no usage."""
    scale: Scale = Scale()


def pipelines(
    platform: Platform,
    authenticator: Authenticator,
    catalog: Catalog,
    pool: ReplicaPool,
    admission: Admission,
    book: PriceBook,
    meter: Meter,
) -> dict[str, Pipeline]:
    """The steps of each inference endpoint, in order."""
    settings = platform.settings
    limit = settings.request_timeout
    fields = Fields(pool)
    enter, who, read = Enter(), Authenticate(authenticator), Read(settings.body_max_bytes)
    name, resolve = Name(), Resolve(catalog, fields)
    admit, settle = Admit(admission, book), Settle(admission, book, meter)
    dispatch, stream = Dispatch({Route: Engines(pool, Upstreams(), settings)}), Stream()
    shadow = Shadow(Pipeline([dispatch, stream], settle, limit).run)

    def pipeline(parse: Step, *answer: Step) -> Pipeline:
        return Pipeline([enter, who, read, name, resolve, parse, admit, *answer], settle, limit)

    generate = pipeline(ParseInference(fields), dispatch, shadow, stream)
    tokens = pipeline(ParseTokens(fields), dispatch, stream)
    messages = pipeline(ParseMessages(fields), dispatch, shadow, stream)
    embed = pipeline(ParseEmbedding(), Embed(ask_embedder, pool.present))
    return {
        "/v1/chat/completions": generate,
        "/v1/completions": generate,
        "/v1/embeddings": embed,
        "/tokenize": tokens,
        "/detokenize": tokens,
        "/v1/messages": messages,
        "/v1/messages/count_tokens": messages,
    }


class Ingress:
    """The ASGI app: inference goes straight to its pipeline, the rest to FastAPI."""

    def __init__(self) -> None:
        self._pipelines: dict[str, Pipeline] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.management = management(self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            pipeline = self._pipelines.get(scope["path"].rstrip("/"))
            if pipeline is not None:
                endpoint = scope["path"].rstrip("/")
                await pipeline.run(Exchange(endpoint, scope, receive, send))
                return
        await self.management(scope, receive, send)

    def check(self) -> None:
        """Raises once a task that keeps this router's knowledge fresh has ended."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError("a task of the router has ended") from task.exception()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        platform = await open_platform()
        settings = platform.settings
        authenticator = Authenticator(
            platform.database, platform.redis, cache_seconds=settings.key_cache_seconds
        )
        catalog = Catalog(platform.database)
        await catalog.refresh()
        pool = ReplicaPool(
            platform.directory,
            platform.redis,
            ray.get_runtime_context().get_node_id(),
            settings.replica_wait,
        )
        admission = Admission(platform.redis, platform.database, settings.redis_fault)
        book = PriceBook(platform.database)
        await book.refresh()
        meter = Meter(platform.redis, settings.home)
        app.state.lorikeet = Services(
            platform=platform,
            authenticator=authenticator,
            catalog=catalog,
            aliases=Aliases(platform.database, platform.redis),
            virtual_models=VirtualModels(platform.database, platform.redis),
            pool=pool,
            files=Files(platform.database, platform.artifacts, settings),
            jobs=Jobs(platform.database, settings),
            keys=Keys(platform.database, platform.redis),
            plans=Plans(platform.database, platform.redis),
            prices=Prices(platform.database, platform.redis),
            serve=ServeView(),
        )
        self._pipelines |= pipelines(platform, authenticator, catalog, pool, admission, book, meter)
        tasks = [
            asyncio.create_task(work)
            for work in (
                authenticator.run(),
                admission.run(),
                pool.watch(),
                _follow(catalog, platform.redis),
                _follow(book, platform.redis),
                meter.run(),
            )
        ]
        self._tasks = tasks
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await meter.close()
            await authenticator.close()
            await platform.database.close()
            await platform.redis.aclose()


async def _follow(known: Catalog | PriceBook, redis: Redis) -> None:
    changes = asyncio.Event()
    listener = asyncio.create_task(listen(redis, CATALOG_CHANNEL, changes))
    try:
        await known.watch(changes)
    finally:
        listener.cancel()


def management(lifespan: Any) -> FastAPI:
    """Everything but inference: models, files, jobs, keys, limits, usage, health."""
    app = FastAPI(
        title="Lorikeet",
        description="Serve and make your own fine-tuned models.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for module in (
        models,
        adapters,
        aliases,
        virtual_models,
        keys,
        limits,
        budget,
        prices,
        usage,
        files,
        fine_tuning,
    ):
        app.include_router(module.router)
    app.include_router(health.router)
    describe(app)

    def answer(error: LorikeetError) -> JSONResponse:
        return JSONResponse(errors.body(error), error.status, errors.headers(error))

    @app.exception_handler(LorikeetError)
    async def known(request: Request, error: LorikeetError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(errors.from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        if error.status_code == 404:
            return answer(NotFound(f"There is no {where}.", code="unknown_url"))
        if error.status_code == 405:
            return answer(MethodNotAllowed(f"There is no {where}."))
        if isinstance(error.__cause__, LorikeetError):  # what the gate said while FastAPI read
            return answer(error.__cause__)
        return answer(InvalidRequest(str(error.detail)))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return answer(Internal("The server failed to handle the request."))

    app.add_middleware(Gate)

    return app


def build() -> ASGIApp:
    return Ingress()


class Router:
    """Holds no state: the app's lifespan, which Serve runs before the first request, opens all."""

    app: Ingress
    """Set by Serve's ingress."""

    def check_health(self) -> None:
        self.app.check()


def app(given: dict[str, Any]) -> Application:
    """The Serve application at `/`."""
    args = RouterArgs.read(given)
    return serve.deployment(
        serve.ingress(build)(Router),
        name="Router",
        max_ongoing_requests=args.max_ongoing,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=args.drain,
        # Each request leaves a usage event; a line in a log beside it costs a tenth of its CPU.
        logging_config=LoggingConfig(enable_access_log=False),
        **args.scale.options(),
    ).bind()
