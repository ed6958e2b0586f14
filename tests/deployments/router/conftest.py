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
from cluster.catalog.price_book import PriceBook
from cluster.catalog.replicas import Replica, ReplicaDirectory
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.sql import Database
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.bootstrap import FirstTenant, bootstrap
from cluster.usage.event import UsageEvent
from deployments.platform import Platform
from deployments.router.app import pipelines
from deployments.router.exchange import Exchange
from deployments.router.pipeline import Pipeline
from deployments.router.replicas import ReplicaPool
from tests.deployments.router.fake_engine import FakeEngine

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
    book: PriceBook
    folder: Path
    pipelines: dict[str, Pipeline]
    engines: list[FakeEngine] = field(default_factory=list)

    async def add_engine(self, model: str = "budgie", **more: Any) -> FakeEngine:
        """Start a fake engine and announce it, as a replica would."""
        engine = FakeEngine(self.folder / f"{len(self.engines)}.sock")
        await engine.start()
        replica = Replica(
            model=model,
            id=f"replica{len(self.engines)}",
            node="here",
            pid=1,
            actor_id="a",
            address=str(engine.path),
            fields=FIELDS,
        )
        self.engines.append(engine)
        await self.directory.announce(replace(replica, **more), changed=True)
        await self.read_directory()
        return engine

    async def read_directory(self) -> None:
        self.pool._replicas = await self.directory.read()

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
    pool = ReplicaPool(platform.directory, redis, "here", chosen.replica_wait)
    meter, book = Recorded(), PriceBook(database)
    admission = Admission(redis, database)
    steps = pipelines(platform, authenticator, catalog, pool, admission, book, meter)  # type: ignore[arg-type]
    made = Rig(
        settings=chosen,
        tenant=tenant,
        key=tenant.key_file.read_text().strip(),
        pool=pool,
        directory=platform.directory,
        catalog=catalog,
        platform=platform,
        meter=meter,
        book=book,
        folder=tmp_path,
        pipelines=steps,
    )
    yield made
    for engine in made.engines:
        await engine.stop()
    await authenticator.close()
    await database.close()


Post = Callable[..., Awaitable[Answered]]
