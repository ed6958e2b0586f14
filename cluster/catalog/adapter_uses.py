"""When each adapter was last used, as the replicas tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from cluster.store.redis import adapter_uses_key

KEPT = 100_000
"""Adapters of one base model that are remembered."""


class AdapterUses:
    """By base model and the engine's name. Raises redis' errors: each caller can do without."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self, base_model: str, used: Mapping[str, float]) -> None:
        if not used:
            return
        key = adapter_uses_key(base_model)
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(key, dict(used), gt=True)  # another replica may have used one of them later
        pipe.zremrangebyrank(key, 0, -KEPT - 1)
        await pipe.execute()

    async def last(self, base_model: str, names: Sequence[str]) -> dict[str, float]:
        """Unix times, of those that were ever used."""
        if not names:
            return {}
        times = await self._redis.zmscore(adapter_uses_key(base_model), list(names))
        return {name: float(at) for name, at in zip(names, times, strict=True) if at is not None}
