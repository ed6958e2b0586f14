"""What deployments share whose model is asked through a Serve handle, in batches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVar

import ray
from pydantic import Field
from ray import serve
from ray.serve import Application

from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.catalog.replicas import Replica
from deployments.heartbeat import Heartbeat
from deployments.platform import Platform
from deployments.scale import Scale, Strict

Member = TypeVar("Member")


class HostedArgs(Strict):
    """One such model in `serve_config.yaml`."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    """A folder, a hub's name, or `package:NAME/FOLDER`."""
    aliases: tuple[str, ...] = ()
    max_batch: int = Field(32, ge=1)
    """Requests that are answered together."""
    batch_wait: float = Field(0.005, ge=0)
    """Seconds that the first request of a batch waits for others."""
    scale: Scale = Scale()


class Hosted:
    """A replica that is in the catalogue, and in the directory for as long as it lives."""

    _heartbeat: Heartbeat | None = None

    async def _appear(
        self, platform: Platform, args: HostedArgs, kind: ModelKind, source: str, **known: Any
    ) -> None:
        """Tell everybody of the model, once it is loaded. `known`: fields of BaseModel."""
        context, runtime = serve.get_replica_context(), ray.get_runtime_context()
        await BaseModels(platform.database).register(
            BaseModel(
                name=args.name,
                kind=kind,
                application=context.app_name,
                source=source,
                aliases=args.aliases,
                **known,
            )
        )
        replica = Replica(
            model=args.name,
            id=context.replica_id.unique_id,
            node=runtime.get_node_id(),
            pid=os.getpid(),
            actor_id=runtime.get_actor_id() or "",
            address="",
        )
        self._heartbeat = Heartbeat(platform.directory, lambda: replica)
        self._heartbeat.start()
        await announce(platform.redis)

    async def check_health(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.check()

    async def __del__(self) -> None:
        if self._heartbeat is not None:
            await self._heartbeat.stop()


async def together(
    compute: Callable[[list[Member]], Any], requests: list[list[Member]]
) -> list[Any]:
    """What `compute` makes, in a thread, of the members of all requests, by request."""
    results = await asyncio.to_thread(compute, [m for request in requests for m in request])
    ends = accumulate(len(request) for request in requests)
    return [results[end - len(request) : end] for request, end in zip(requests, ends, strict=True)]


def application(hosted: type[Hosted], name: str, args: HostedArgs) -> Application:
    """The Serve application of one model; `name` is its deployment's."""
    return serve.deployment(
        hosted,
        name=name,
        max_ongoing_requests=256,
        max_queued_requests=1024,
        health_check_period_s=5,
        **args.scale.options(),
    ).bind(args)
