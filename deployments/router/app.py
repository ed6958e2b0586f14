"""The router's Serve deployment: wires the steps, mounts the routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import Field
from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.aliases import Aliases
from cluster.catalog.catalog import Catalog
from cluster.catalog.connections import Connections
from cluster.catalog.pins import Pins
from cluster.catalog.price_book import PriceBook
from cluster.catalog.prices import Prices
from cluster.catalog.virtual_models import VirtualModels
from cluster.files.files import Files
from cluster.jobs.jobs import Jobs
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.client import Outgoing
from cluster.settings import TransportKind
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL
from cluster.stored.completions import Completions
from cluster.stored.responses import Responses
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.keys import Keys
from cluster.tenancy.plans import Plans
from cluster.usage.meter import Meter
from deployments.platform import open_platform
from deployments.router.engines.handle_transport import HandleTransport
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.engines.socket_transport import SocketTransport
from deployments.router.engines.transport import Transport
from deployments.router.exchange import Exchange
from deployments.router.inference import pipelines
from deployments.router.management import management
from deployments.router.pipeline import Pipeline
from deployments.router.remote.providers import Providers
from deployments.router.serve_view import ServeView
from deployments.router.services import Services
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
        copies: set[asyncio.Task[None]] = set()
        self._pipelines |= pipelines(
            platform,
            authenticator,
            catalog,
            pool,
            transport,
            admission,
            book,
            meter,
            providers,
            copies,
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
            ending = [*tasks, *copies]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
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
