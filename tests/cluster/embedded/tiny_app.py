"""A Serve application as small as can be: an ASGI ingress that uses the embedded Redis."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from ray import serve

from cluster.embedded.redis_actor import ensure_redis
from cluster.settings import settings
from cluster.store import redis

api = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Tiny:
    async def __init__(self) -> None:
        await ensure_redis(settings())
        self.redis = redis.connect(settings().redis)

    @api.get("/readyz")
    async def readyz(self) -> dict[str, Any]:
        return {"ready": await self.redis.ping()}

    @api.get("/count")
    async def count(self) -> dict[str, Any]:
        server = await self.redis.info("server")
        return {
            "count": await self.redis.incr("count"),
            "pid": os.getpid(),
            "redis_pid": server["process_id"],
            "home": str(settings().home),
        }


app = Tiny.bind()  # type: ignore[attr-defined]
