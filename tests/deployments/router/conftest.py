"""The router's pipeline on real stores, in front of fake engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.types import Receive

from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.catalog import Catalog
from cluster.catalog.connection import Protocol
from cluster.catalog.connections import Change, Connections
from cluster.catalog.price_book import PriceBook
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.outgoing.allowance import Allowance
from cluster.outgoing.client import Outgoing
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.sql import Database
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.bootstrap import FirstTenant, bootstrap
from cluster.usage.event import UsageEvent
from deployments.platform import Platform
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.engines.socket_transport import SocketTransport
from deployments.router.exchange import Exchange
from deployments.router.inference import pipelines
from deployments.router.pipeline import Pipeline
from deployments.router.remote.providers import Providers
from tests.deployments.router.fake_engine import FakeEngine
from tests.deployments.router.provider import Answering, FakeProvider

BUDGIE = BaseModel("budgie", ModelKind.LLM, "budgie", "budgie", 2048, max_rank=64)
FIELDS = {
    "/v1/chat/completions": frozenset(
        {
            "model",
            "messages",
            "stream",
            "stream_options",
            "max_tokens",
            "n",
            "user",
            "cache_salt",
            "metadata",
            "store",
            "temperature",
            "tools",
            "structured_outputs",
        }
    )
}


@dataclass
class Answered:
    """What the caller saw."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Recorded:
    """A meter that keeps its events."""

    def __init__(self) -> None:
        self.events: list[UsageEvent] = []
        self.record = self.events.append


@dataclass
class Rig:
    settings: Settings
    tenant: FirstTenant
    key: str
    pool: ReplicaPool
    directory: ReplicaDirectory
    catalog: Catalog
    platform: Platform
    meter: Recorded
    transport: SocketTransport
    book: PriceBook
    folder: Path
    pipelines: dict[str, Pipeline]
    connections: Connections
    providers: Providers
    engines: list[FakeEngine] = field(default_factory=list)
    fakes: list[FakeProvider] = field(default_factory=list)

    async def add_engine(
        self, model: str = "budgie", *, token: bytes | None = None, **more: Any
    ) -> FakeEngine:
        """Start a fake engine and announce it, as a replica would; with `token` on a port too."""
        engine = FakeEngine(self.folder / f"{len(self.engines)}.sock", token=token)
        await engine.start()
        replica = Replica(
            model=model,
            id=f"replica{len(self.engines)}",
            node="here",
            pid=1,
            actor_id="a",
            address=str(engine.path),
            remote=engine.remote,
            fields=FIELDS,
        )
        self.engines.append(engine)
        await self.directory.announce(replace(replica, **more), changed=True)
        await self.read_directory()
        return engine

    async def remove_engines(self) -> None:
        """Stop all of them, in order."""
        for number, engine in enumerate(self.engines):
            await engine.stop()
            engine.hang_up()
            await self.directory.withdraw("budgie", f"replica{number}")
        self.engines.clear()
        await self.read_directory()

    async def connect(
        self,
        answering: Answering,
        protocol: Protocol = Protocol.OPENAI,
        name: str = "other",
        **more: Any,
    ) -> FakeProvider:
        """Start another provider and reach it by a connection of that name."""
        provider = FakeProvider(answering)
        await provider.start()
        self.fakes.append(provider)
        change = Change(base_url=provider.url, **more)
        who = self.tenant.organization_id
        await self.connections.create(who, "key-1", name, protocol, "sk-upstream", change)
        await self.catalog.refresh()
        return provider

    async def read_directory(self) -> None:
        self.pool.hear(await self.directory.read())

    async def post(
        self,
        body: Any,
        path: str = "/v1/chat/completions",
        *,
        headers: dict[str, str | None] | None = None,
        leave_after: int | None = None,
        read: int | None = None,
        receive: Receive | None = None,
    ) -> Answered:
        """Call the pipeline as an ASGI server would, with the body or whatever `receive` gives.

        `leave_after` pieces the caller hangs up; after `read` pieces they take no more.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"authorization": f"Bearer {self.key}", **(headers or {})}
        sent = {name: value for name, value in given.items() if value is not None}
        answered = Answered()
        left = asyncio.Event()
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def sent_body() -> Any:
            if messages:
                return messages.pop(0)
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                if read is not None and len(answered.pieces) >= read:
                    await asyncio.Event().wait()
                answered.pieces.append(message["body"])
                if leave_after is not None and len(answered.pieces) >= leave_after:
                    left.set()

        scope = {"headers": [(k.encode(), v.encode()) for k, v in sent.items()]}
        await self.pipelines[path].run(Exchange(path, scope, receive or sent_body, send))
        return answered


@pytest.fixture
async def rig(
    settings: Settings, redis: Redis, sqlite_url: str, tmp_path: Path
) -> AsyncIterator[Rig]:
    chosen = settings.model_copy(
        update={"replica_wait": 0.3, "internal_token": None, "home": tmp_path / "home"}
    )
    chosen.home.mkdir()
    database = Database(sqlite_url)
    tenant = await bootstrap(chosen, database)
    await BaseModels(database).register(BUDGIE)
    artifacts = Artifacts(chosen.artifacts)
    platform = Platform(chosen, database, redis, artifacts)
    authenticator = Authenticator(database, redis)
    catalog = Catalog(database)
    await catalog.refresh()
    transport = SocketTransport("here")
    pool = ReplicaPool(platform.directory, redis, transport.reaches, chosen.replica_wait)
    meter, book = Recorded(), PriceBook(database)
    seal, allowance = chosen.seal(), Allowance(["127.0.0.1"])
    providers = Providers(catalog.connection, seal, Outgoing(allowance))
    steps = pipelines(
        platform,
        authenticator,
        catalog,
        pool,
        transport,
        Admission(redis, database),
        book,
        meter,  # type: ignore[arg-type]
        providers,
        set(),
    )
    made = Rig(
        settings=chosen,
        tenant=tenant,
        key=tenant.key_file.read_text().strip(),
        pool=pool,
        directory=platform.directory,
        catalog=catalog,
        platform=platform,
        meter=meter,
        transport=transport,
        book=book,
        folder=tmp_path,
        pipelines=steps,
        connections=Connections(database, redis, seal, allowance),
        providers=providers,
    )
    yield made
    for provider in made.fakes:
        await provider.stop()
    await providers.close()
    for engine in made.engines:
        await engine.stop()
    await authenticator.close()
    await database.close()


Post = Callable[..., Awaitable[Answered]]
