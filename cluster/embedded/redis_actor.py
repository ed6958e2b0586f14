"""The embedded Redis of a home, owned by one named actor that any process may ask for.

So `serve deploy` alone suffices: the first deployment that starts makes the actor, the others find
it, and Ray starts it again, and its server with it, wherever it dies.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import ray

from cluster.embedded.redis_server import RedisServer
from cluster.errors import ConfigurationError, Unavailable
from cluster.settings import Settings

NAMESPACE = "lorikeet"


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class RedisActor:
    """Owns the server. Nothing but its start goes through here: callers use the socket."""

    def __init__(self, settings: Settings) -> None:
        self._server = RedisServer(settings)
        self._server.start()

    def ready(self) -> str:
        """The node that the server answers on."""
        self._server.wait()
        return str(ray.get_runtime_context().get_node_id())


def redis_actor(settings: Settings) -> Any:
    """The actor of this home, made if there is none."""
    name = f"redis-{hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]}"
    return RedisActor.options(  # type: ignore[attr-defined]
        name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
    ).remote(settings)


async def ensure_redis(settings: Settings, timeout: float = 60.0) -> None:
    """Return when `settings.redis` answers; start the embedded server where it is the one.

    Raises ConfigurationError on another node than the server's, whose socket this one cannot reach.
    """
    if settings.redis_url is not None:
        return
    try:
        async with asyncio.timeout(timeout):
            node = await redis_actor(settings).ready.remote()
    except TimeoutError:
        raise Unavailable(f"The embedded Redis did not start in {timeout:.0f} s.") from None
    _require_here(node)


def _require_here(node: str) -> None:
    if node != ray.get_runtime_context().get_node_id():
        raise ConfigurationError(
            "The embedded Redis runs on another node. On several nodes set LORIKEET_REDIS_URL, "
            "LORIKEET_DATABASE_URL and LORIKEET_ARTIFACTS_URL to stores that all of them reach."
        )
