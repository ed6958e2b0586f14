"""The paced engine as a replica: it announces itself as those of language models do."""

import os
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import ray
from pydantic import Field
from ray import serve
from ray.serve import Application

from bench.chat import body
from bench.paced.engine import PacedEngine
from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.replicas import Replica
from deployments.engine_call import Piece
from deployments.heartbeat import Heartbeat
from deployments.platform import open_platform
from deployments.scale import Resources, Strict

MODEL = "paced"
FIELDS = frozenset({*body(MODEL, 0, stream=True), "cache_salt", "stream_options"})


class PacedArgs(Strict):
    """In `bench/router.yaml`."""

    port: int = Field(ge=1, le=65535)
    """Where the load generator asks it without a router between them."""
    seconds: float = Field(0.1, gt=0)
    """How long an answer takes."""
    resources: Resources = Resources()


class Paced:
    """Hosts the engine."""

    async def __init__(self, args: PacedArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        platform = await open_platform()
        context = serve.get_replica_context()
        await BaseModels(platform.database).register(
            BaseModel(MODEL, ModelKind.LLM, context.app_name, MODEL, context_length=100_000)
        )
        self.application = context.app_name
        self.id = context.replica_id.unique_id
        self.node = ray.get_runtime_context().get_node_id()
        self.path = platform.settings.short_folder / f"llm-{self.id[:16]}.sock"
        self.engine = PacedEngine(MODEL, args.seconds)
        await self.engine.listen(self.path, args.port)
        self.heartbeat = Heartbeat(platform.directory, self.describe)
        self.heartbeat.start()
        await announce(platform.redis)

    def describe(self) -> Replica:
        """The record in the directory. No request is ever too many."""
        return Replica(
            model=MODEL,
            id=self.id,
            node=self.node,
            pid=os.getpid(),
            actor_id=ray.get_runtime_context().get_actor_id() or "",
            address=str(self.path),
            application=self.application,
            capacity=1_000_000,
            running=len(self.engine.running),
            fields={"/v1/chat/completions": FIELDS},
        )

    async def call(self, path: str, headers: bytes, body: bytes) -> AsyncGenerator[Piece, None]:
        """A request that came by Serve's handle."""
        async for piece in self.engine.answer(orjson.loads(body)):
            yield Piece(200, piece)

    def check_health(self) -> None:
        """Raises once the heartbeat has ended."""
        self.heartbeat.check()

    async def __del__(self) -> None:
        await self.heartbeat.stop()
        await self.engine.stop()
        self.path.unlink(missing_ok=True)


def app(given: dict[str, Any]) -> Application:
    """The Serve application of the paced engine."""
    args = PacedArgs.read(given)
    options = args.resources.actor_options()
    return serve.deployment(
        Paced, name="Paced", max_ongoing_requests=10_000, ray_actor_options=options
    ).bind(args)
