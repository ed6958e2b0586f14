"""The times of adapters' last uses."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from cluster.catalog import adapter_uses
from cluster.catalog.adapter_uses import AdapterUses


async def test_the_latest_of_all_replicas_counts(redis: Redis) -> None:
    uses = AdapterUses(redis)
    await uses.tell("budgie", {"a@1": 10.0, "b@1": 20.0})
    await uses.tell("budgie", {"a@1": 5.0, "b@1": 25.0})
    await uses.tell("budgie", {})
    assert await uses.last("budgie", ["a@1", "b@1", "c@1"]) == {"a@1": 10.0, "b@1": 25.0}
    assert await uses.last("other", ["a@1"]) == {}
    assert await uses.last("budgie", []) == {}


async def test_what_was_used_longest_ago_is_forgotten(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_uses, "KEPT", 2)
    uses = AdapterUses(redis)
    await uses.tell("budgie", {"a": 2.0, "b": 1.0, "c": 3.0})
    assert await uses.last("budgie", ["a", "b", "c"]) == {"a": 2.0, "c": 3.0}
