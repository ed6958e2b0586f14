"""The deployment of one base model: vLLM with many adapters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import ray
from pydantic import Field, field_validator, model_validator
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingContext

from cluster.catalog.adapter_uses import AdapterUses
from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.replicas import Replica, Routing, capacity
from cluster.catalog.residents import Residents
from deployments.adapter_loader import AdapterLoader
from deployments.adapters import AdapterReconciler, reconcile
from deployments.engine_call import Piece, call
from deployments.heartbeat import Heartbeat
from deployments.lending import Durations, Lender
from deployments.platform import open_platform
from deployments.scale import Scale, Strict
from deployments.source import resolve

if TYPE_CHECKING:
    from deployments.engine import Engine

# No code that comes with weights is ever run. To the router the first byte is the first token: a
# comment that keeps a line alive is none.
FIXED: dict[str, Any] = {
    "trust_remote_code": False,
    "enable_prompt_tokens_details": True,
    "sse_keep_alive_interval": 0,
}


class LLMArgs(Strict):
    """One base model in `serve_config.yaml`."""

    name: str = Field(min_length=1, pattern=r"^[^@\s]+$")
    """What callers put into `model`."""
    source: str = Field(min_length=1)
    """A folder, a hub's name, or `package:NAME/FOLDER`."""
    aliases: tuple[str, ...] = ()
    engine: dict[str, Any] = Field(default_factory=dict)
    """vLLM's engine and server options, by vLLM's own names."""
    resident_adapters: int | None = Field(None, ge=1)
    """Adapters in one replica at most; by default `engine.max_cpu_loras`. Where a base model has
    more, those used least lately go, and are loaded again when somebody asks for them."""
    routing: Routing = Routing.LOAD
    """What picks among replicas: `load` the least loaded, `prefix` the one that lately saw a prompt
    that begins alike, unless it has much more to do."""
    max_queue: int | None = Field(None, ge=1)
    """Requests in one replica at a time; more wait in the routers, where tenants share. By default
    as many as the engine runs at once (`max_num_seqs`) and an eighth more, so that it never waits
    for one."""
    drain: float = Field(120.0, ge=0)
    """Seconds that requests in flight have to end when a replica is stopped. Where its resources
    are the only ones, its successor waits for them."""
    scale: Scale = Scale()

    @model_validator(mode="after")
    def _target_is_reached(self) -> Self:
        """Replicas are added by what is in the engines, not by what waits for a place in them."""
        at_once = self.engine.get("max_num_seqs")
        most = self.max_queue or (capacity(at_once) if isinstance(at_once, int) else None)
        scaling = self.scale.autoscaling
        if most is not None and scaling is not None and scaling.target > most:
            raise ValueError(
                f"scale.autoscaling.target is {scaling.target:g}: an engine is given no more than "
                f"{most} requests, so that it would never be reached"
            )
        return self

    @field_validator("engine")
    @classmethod
    def _ours(cls, engine: dict[str, Any]) -> dict[str, Any]:
        for option in ("model", "served_model_name", "uds", "port", "api_key", *FIXED):
            if option in engine:
                raise ValueError(f"engine.{option} is set by the product and can't be given")
        return engine

    @model_validator(mode="after")
    def _places(self) -> Self:
        kept, wanted = self.engine.get("max_cpu_loras"), self.resident_adapters
        if kept is not None and wanted is not None and wanted > kept:
            raise ValueError(
                f"resident_adapters is {wanted}, over engine.max_cpu_loras {kept}: the engine "
                "would throw out some of them by itself"
            )
        return self


NOWHERE = "media.invalid"
"""A domain that never exists (RFC 2606). To vLLM an empty list allows every domain."""


def engine_options(
    given: Mapping[str, Any], resident_adapters: int | None = None
) -> dict[str, Any]:
    """VLLM's options for those `given` in the configuration.

    The engine keeps as many adapters as a replica may hold. Media are fetched from the domains that
    the configuration names and from no others: a caller's URL could reach what only this network
    can.
    """
    domains = given.get("allowed_media_domains") or [NOWHERE]
    options = {**given, "allowed_media_domains": domains, **FIXED}
    if resident_adapters is not None and given.get("max_cpu_loras") is None:
        options["max_cpu_loras"] = max(resident_adapters, given.get("max_loras") or 1)
    return options


def base_model(args: LLMArgs, application: str, source: str, engine: Engine) -> BaseModel:
    """What the catalogue keeps of an engine.

    `source` is a hub's name where the weights are a hub's: adapters name their base by it, and
    other nodes have a cache of their own.
    """
    return BaseModel(
        name=args.name,
        kind=ModelKind.LLM,
        application=application,
        source=source,
        context_length=engine.context_length,
        aliases=args.aliases,
        max_rank=engine.max_rank,
        hidden_size=engine.hidden_size,
        vocabulary=engine.vocabulary,
        modules=engine.linear_layers() if engine.max_rank else {},
        places=places(args, engine),
    )


def places(args: LLMArgs, engine: Engine) -> int:
    """Adapters that a replica holds at most."""
    kept = engine.adapter_places
    return kept if args.resident_adapters is None else min(kept, args.resident_adapters)


class LLM:
    """Hosts an engine; routers speak with it over its own socket, not through Serve's handles."""

    async def __init__(self, args: LLMArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        from deployments.engine import Engine

        self._platform = platform = await open_platform()
        source = resolve(args.source)
        engine = await Engine.start(
            args.name, source, engine_options(args.engine, args.resident_adapters)
        )
        self._engine = engine
        context, runtime = serve.get_replica_context(), ray.get_runtime_context()
        self._model = base_model(args, context.app_name, source, engine)
        await BaseModels(platform.database).register(self._model)
        own, settings = context.replica_id.unique_id, platform.settings
        most = args.max_queue or capacity(engine.runs_at_once)
        self._socket = settings.short_folder / f"llm-{own[:16]}.sock"
        self._record = Replica(
            model=args.name,
            id=own,
            node=runtime.get_node_id(),
            pid=os.getpid(),
            actor_id=runtime.get_actor_id() or "",
            address=str(self._socket),
            application=context.app_name,
            capacity=most,
            look_ahead=max(0, most - engine.runs_at_once),
            places=self._model.places,
            routing=args.routing,
            fields=engine.known_fields(),
        )
        cache = settings.home / "cache"
        residents = Residents(self._model.places)
        self._loader = AdapterLoader(engine, platform.artifacts, cache, residents)
        self._reconciler = AdapterReconciler(
            self._record,
            self._loader,
            residents,
            platform.registry,
            platform.directory,
            AdapterUses(platform.redis),
            cache,
            settings.replica_wait,
        )
        # The registry is replayed before the first request: what was published answers at once.
        await self._reconciler.replay()
        self._durations = Durations()
        self._app = Lender(engine.app, self._reconciler, self._durations)
        host = ray.util.get_node_ip_address()
        remote = await engine.listen(
            self._socket,
            None if host.startswith("127.") else host,
            settings.token(),
            self._app,
        )
        self._record = replace(self._record, remote=remote)
        self._heartbeat = Heartbeat(platform.directory, self._describe)
        self._heartbeat.start()
        changed = self._loader.changed
        self._tasks = [
            asyncio.create_task(reconcile(self._reconciler, platform.redis, changed)),
            asyncio.create_task(self._tell(changed)),
        ]
        await announce(platform.redis)

    def _describe(self) -> Replica:
        running, waiting = self._engine.load_now
        return replace(
            self._record,
            adapters=self._reconciler.loaded,
            failures=self._reconciler.failures,
            running=running,
            waiting=waiting,
            loading=self._loader.seconds,
            duration=self._durations.duration,
        )

    async def _tell(self, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            changed.clear()
            self._heartbeat.changed()

    async def call(self, path: str, headers: bytes, body: bytes) -> AsyncGenerator[Piece, None]:
        """A request that came by Serve's handle instead of the engine's socket."""
        async with aclosing(call(self._app, path, headers, body)) as pieces:
            async for piece in pieces:
                yield piece

    async def openapi(self) -> dict[str, Any]:
        """The engine's own description of the endpoints it answers."""
        return self._engine.openapi()

    async def check_health(self) -> None:
        """Raises once the engine, its server or a task of this replica has ended."""
        await self._engine.check()
        self._heartbeat.check()
        for task in self._tasks:
            if task.done():
                raise RuntimeError("a task of the replica has ended") from task.exception()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Requests in the engine: they come by the socket, where Serve does not see them."""
        return {"requests": float(sum(self._engine.load_now))}

    async def __del__(self) -> None:
        heartbeat = getattr(self, "_heartbeat", None)
        if heartbeat is None:  # the constructor failed
            return
        await heartbeat.stop()
        for task in self._tasks:
            task.cancel()
        await self._engine.stop()
        self._socket.unlink(missing_ok=True)


def replicas_by_load(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """As many replicas as the requests in the engines need at the configured target for each."""
    requests = sum(context.aggregated_metrics.get("requests", {}).values())
    config = context.config
    assert config is not None, "Serve calls a policy with its configuration"
    return requests / config.get_target_ongoing_requests(), {}


def app(given: dict[str, Any]) -> Application:
    """The Serve application of one base model."""
    args = LLMArgs.read(given)
    options = args.scale.options(policy=f"{__name__}:replicas_by_load")
    return serve.deployment(
        LLM,
        name=args.name.replace("/", "--"),
        max_ongoing_requests=1000,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=args.drain,
        **options,
    ).bind(args)
