"""The supervisor's deployment: the one owner of jobs, adapters and usage rows.

All it knows is in SQL, Redis and Ray, so that it may die between any two lines and start again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
from pydantic import Field
from ray import serve
from ray.serve import Application
from ray.serve.schema import ApplicationStatus
from redis.exceptions import RedisError

from cluster.catalog.announce import announce
from cluster.catalog.base_models import BaseModels
from cluster.catalog.publisher import Publisher
from cluster.datasets.tokens import load_tokenizer
from cluster.errors import LorikeetError
from cluster.jobs.supervision import Supervision
from cluster.retention.expiry import Expiry
from cluster.retention.policy import Policy
from cluster.retention.sweep import Sweep
from cluster.store.listen import listen
from cluster.store.redis import CATALOG_CHANNEL, REPLICA_CHANNEL
from cluster.usage.recorder import Recorder
from cluster.waiting import happens
from deployments.platform import open_platform
from deployments.ray_jobs import RayJobs
from deployments.scale import Resources, Strict

log = logging.getLogger(__name__)


class SupervisorArgs(Strict):
    """The supervisor in `serve_config.yaml`. It has one replica."""

    adapters_every: float = Field(1.0, gt=0)
    """Seconds between two counts of the replicas' acknowledgements, unless one of them calls."""
    models_every: float = Field(15.0, gt=0)
    """Seconds between two looks for models whose application is gone."""
    sweep_every: float = Field(600.0, gt=0)
    """Seconds between two searches for files that nothing needs any more, and for stored answers
    whose time is over."""
    resources: Resources = Resources()


class Supervisor:
    async def __init__(self, args: SupervisorArgs) -> None:  # type: ignore[misc]  # Serve awaits it
        self._platform = platform = await open_platform()
        self._wake = asyncio.Event()
        supervision = Supervision(
            platform.database,
            platform.artifacts,
            RayJobs(),
            platform.settings,
            load_tokenizer,
            wake=self._wake,
            retire=platform.registry.withdraw,
        )
        self._publisher = Publisher(platform.registry, platform.directory)
        self._sweep = Sweep(
            platform.database,
            platform.artifacts,
            platform.directory,
            Policy.of(platform.settings),
        )
        expiry = Expiry(platform.database, Policy.of(platform.settings))
        replicas = asyncio.Event()
        recorder = Recorder(platform.redis, platform.database)
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                supervision.run(),
                _every(args.adapters_every, replicas, self._publish),
                _every(args.models_every, asyncio.Event(), self._forget_models),
                _every(args.sweep_every, asyncio.Event(), self._remove_files),
                _every(args.sweep_every, asyncio.Event(), expiry.step),
                listen(platform.redis, REPLICA_CHANNEL, replicas),
                listen(platform.redis, CATALOG_CHANNEL, replicas),
                recorder.run(),
            )
        ]

    async def _publish(self) -> None:
        try:
            moved = await self._publisher.step()
        except (RedisError, OSError) as error:
            log.warning("adapters wait for Redis: %s", error)
            return
        if moved:
            await announce(self._platform.redis)
            self._wake.set()

    async def _remove_files(self) -> None:
        try:
            await self._sweep.step()
        except (RedisError, OSError) as error:
            log.warning("files are not removed while Redis is away: %s", error)

    async def _forget_models(self) -> None:
        """Models whose application is deployed no more answer no more."""
        status = await anyio.to_thread.run_sync(serve.status)
        own = status.applications.get(serve.get_replica_context().app_name)
        if own is None or own.status is not ApplicationStatus.RUNNING:
            return  # everything is being stopped, or the controller does not know yet
        removed = await BaseModels(self._platform.database).remove_missing(set(status.applications))
        if removed:
            log.info("no longer deployed: %s", ", ".join(removed))
            await announce(self._platform.redis)

    async def check_health(self) -> None:
        """Raises once one of its tasks has ended."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError("a task of the supervisor has ended") from task.exception()

    async def __del__(self) -> None:
        for task in getattr(self, "_tasks", []):
            task.cancel()
        await asyncio.gather(*getattr(self, "_tasks", []), return_exceptions=True)


async def _every(
    seconds: float, wake: asyncio.Event, step: Callable[[], Awaitable[object]]
) -> None:
    """Call `step` for ever: every so often, and when woken. An outage is waited out."""
    while True:
        wake.clear()
        try:
            await step()
        except LorikeetError as error:
            log.warning("%s waits: %s", getattr(step, "__qualname__", step), error)
        except Exception:  # Ray's controller may be away, and one step's fault is not the others'
            log.exception("%s failed", getattr(step, "__qualname__", step))
        await happens(wake, seconds)


def app(given: dict[str, Any]) -> Application:
    """The Serve application that looks after jobs, adapters and usage."""
    args = SupervisorArgs.read(given)
    return serve.deployment(
        Supervisor,
        name="Supervisor",
        num_replicas=1,
        health_check_period_s=5,
        ray_actor_options=args.resources.actor_options(),
    ).bind(args)
