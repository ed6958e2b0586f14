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

from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.aliases import Aliases
from cluster.catalog.catalog import Catalog
from cluster.catalog.connections import Connections
from cluster.catalog.pins import Pins
from cluster.catalog.price_book import PriceBook
from cluster.catalog.prices import Prices
from cluster.catalog.route import Remote, Route
from cluster.catalog.virtual_models import VirtualModels
from cluster.errors import Internal, InvalidRequest, LorikeetError, MethodNotAllowed, NotFound
from cluster.files.files import Files
from cluster.jobs.jobs import Jobs
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.client import Outgoing
from cluster.settings import TransportKind
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL
from cluster.stored.completions import Completions
from cluster.stored.responses import Responses
from cluster.stored.saver import Saver
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.usage.meter import Meter
from deployments.platform import Platform, open_platform
from deployments.router import health
from deployments.router.asked import embed, moderate, rerank, score
from deployments.router.asked.ask import Asking, ParseQuestion, ask_deployment
from deployments.router.dialects.anthropic.parse import ParseMessages
from deployments.router.dialects.openai import (
    adapters,
    aliases,
    budget,
    completions,
    connections,
    errors,
    files,
    fine_tuning,
    keys,
    limits,
    models,
    prices,
    responses,
    usage,
    virtual_models,
)
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.keep_chat import KeepChat
from deployments.router.dialects.openai.parse import ParseInference
from deployments.router.dialects.openai.parse_responses import ParseResponses
from deployments.router.dialects.openai.tokens import ParseTokens
from deployments.router.engines.handle_transport import HandleTransport
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.engines.sender import Engines
from deployments.router.engines.socket_transport import SocketTransport
from deployments.router.engines.transport import Transport
from deployments.router.exchange import Exchange
from deployments.router.gate import Gate
from deployments.router.openapi import describe
from deployments.router.pipeline import Pipeline, Step
from deployments.router.remote.providers import Providers
from deployments.router.serve_view import ServeView
from deployments.router.services import Services
from deployments.router.steps.admit import Admit
from deployments.router.steps.authenticate import Authenticate
from deployments.router.steps.deadline import Deadline
from deployments.router.steps.dispatch import Dispatch
from deployments.router.steps.enter import Enter
from deployments.router.steps.name import Name
from deployments.router.steps.read import Read
from deployments.router.steps.resolve import Resolve
from deployments.router.steps.settle import Settle
from deployments.router.steps.shadow import Shadow
from deployments.router.steps.stream import Stream
from deployments.router.steps.urgency import Urgency
from deployments.router.waiting.slots import Slots
from deployments.scale import Scale, Strict


class RouterArgs(Strict):
    """The ingress in `serve_config.yaml`."""

    max_ongoing: int = Field(5000, ge=1)
    """Requests in flight in one router replica, with those that wait for an engine. Further ones
    wait where nobody tells tenants apart."""
    drain: float = Field(600.0, ge=0)
    """Seconds that requests in flight have to end when a replica is stopped: by default as long as
    `request_timeout` lets one run, since one that is cut here leaves no usage."""
    scale: Scale = Scale()


def pipelines(
    platform: Platform,
    authenticator: Authenticator,
    catalog: Catalog,
    pool: ReplicaPool,
    transport: Transport,
    admission: Admission,
    book: PriceBook,
    meter: Meter,
    providers: Providers,
) -> dict[str, Pipeline]:
    """The steps of each inference endpoint, in order."""
    settings = platform.settings
    limit = settings.request_timeout
    fields = Fields(pool)
    enter, who, read = Enter(), Authenticate(authenticator), Read(settings.body_max_bytes)
    named, deadline, resolve = Name(), Deadline(limit), Resolve(catalog, fields)
    urgency = Urgency(settings.hurried)
    admit, settle = Admit(admission, book), Settle(admission, book, meter)
    engines = Engines(pool, Slots(pool, settings.hold_requests), transport, settings)
    dispatch, stream = Dispatch({Route: engines, Remote: providers}), Stream()
    shadow = Shadow(Pipeline([dispatch, stream], settle, limit).run)

    def pipeline(parse: Step, *answer: Step, name: Step = named) -> Pipeline:
        before: list[Step] = [enter, who, read, name, deadline, resolve, parse, urgency, admit]
        return Pipeline([*before, *answer], settle, limit)

    saver = Saver(platform.database)
    completions_kept = Completions(platform.database)
    responses_kept = Responses(platform.database, settings.body_max_bytes)
    parse = ParseInference(fields)
    generate = pipeline(parse, dispatch, shadow, stream)
    chat = pipeline(KeepChat(parse, saver, completions_kept), dispatch, shadow, stream)
    respond = pipeline(ParseResponses(fields, saver, responses_kept), dispatch, shadow, stream)
    tokens = pipeline(ParseTokens(fields), dispatch, stream)
    messages = pipeline(ParseMessages(fields), dispatch, shadow, stream)
    asking = Dispatch({Route: Asking(ask_deployment, pool.present), Remote: providers})
    embeddings = pipeline(ParseQuestion(embed.parse), asking, stream)
    scores = pipeline(ParseQuestion(score.parse), asking, stream)
    rankings = pipeline(ParseQuestion(rerank.parse), asking, stream)
    moderation = Name(moderate.ModerationModel(catalog, settings.moderation_model))
    moderations = pipeline(ParseQuestion(moderate.parse), asking, stream, name=moderation)
    return {
        "/v1/chat/completions": chat,
        "/v1/completions": generate,
        "/v1/responses": respond,
        "/v1/embeddings": embeddings,
        "/v1/score": scores,
        "/score": scores,
        "/v1/rerank": rankings,
        "/v2/rerank": rankings,
        "/rerank": rankings,
        "/v1/moderations": moderations,
        "/tokenize": tokens,
        "/detokenize": tokens,
        "/v1/messages": messages,
        "/v1/messages/count_tokens": messages,
    }


def transport_of(kind: TransportKind) -> Transport:
    if kind is TransportKind.HANDLE:
        return HandleTransport()
    return SocketTransport(ray.get_runtime_context().get_node_id())


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
        transport = transport_of(settings.transport)
        pool = ReplicaPool(
            platform.directory, platform.redis, transport.reaches, settings.replica_wait
        )
        admission = Admission(platform.redis, platform.database, settings.redis_fault)
        book = PriceBook(platform.database)
        await book.refresh()
        meter = Meter(platform.redis, settings.home)
        seal, allowance = settings.seal(), Allowance(settings.outgoing_allow)
        others = Connections(platform.database, platform.redis, seal, allowance)
        await others.renew()
        providers = Providers(catalog.connection, seal, Outgoing(allowance))
        app.state.lorikeet = Services(
            platform=platform,
            authenticator=authenticator,
            catalog=catalog,
            aliases=Aliases(platform.database, platform.redis),
            virtual_models=VirtualModels(platform.database, platform.redis),
            pins=Pins(platform.database, platform.redis, settings.pinned_adapters),
            uses=AdapterUses(platform.redis),
            connections=others,
            providers=providers,
            pool=pool,
            files=Files(platform.database, platform.artifacts, settings),
            jobs=Jobs(platform.database, settings),
            keys=Keys(platform.database, platform.redis),
            plans=Plans(platform.database, platform.redis),
            responses=Responses(platform.database, settings.body_max_bytes),
            completions=Completions(platform.database),
            prices=Prices(platform.database, platform.redis),
            serve=ServeView(),
        )
        self._pipelines |= pipelines(
            platform, authenticator, catalog, pool, transport, admission, book, meter, providers
        )
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
            await providers.close()
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
        responses,
        completions,
        connections,
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
