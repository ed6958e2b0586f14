"""Stored responses on real databases: chains of them, and who may see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cluster.errors import InvalidRequest, NotFound, Unavailable
from cluster.store.page import Order
from cluster.stored import responses
from cluster.stored.items import items
from cluster.stored.responses import Responses
from tests.cluster.jobs.world import World

MOST = 10_000


def answer(name: str, text: str = "yes \0 ☃") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": f"out_{name}", "role": "assistant", "content": content}
    return {"id": f"resp_{name}", "object": "response", "output": [message]}


async def say(world: World, store: Responses, name: str, previous: str | None = None) -> None:
    past = None if previous is None else await store.recall(world.ann.organization_id, previous)
    item = {"role": "user", "content": f"ask {name}", "id": f"in_{name}"}
    await store.add(world.ann, items([item]), answer(name), past)


async def test_a_chain_is_recalled_in_its_order_and_no_other_branch(both: World) -> None:
    store, ann = Responses(both.database, MOST), both.ann.organization_id
    await say(both, store, "1")
    await say(both, store, "2", "resp_1")
    await say(both, store, "other", "resp_1")
    await say(both, store, "3", "resp_2")
    past = await store.recall(ann, "resp_3")
    assert [item["id"] for item in past.items] == [
        "in_1", "out_1", "in_2", "out_2", "in_3", "out_3",
    ]  # fmt: skip
    assert (past.thread_id, past.response_id) == ("resp_1", "resp_3")
    assert past.bytes > 3 * len("ask 1yes")
    assert past.items[1]["content"][0]["text"] == "yes \0 ☃"
    assert await store.get(ann, "resp_3") == answer("3")


async def test_pages_of_all_that_a_response_was_made_from(both: World) -> None:
    store, ann = Responses(both.database, MOST), both.ann.organization_id
    await say(both, store, "1")
    await say(both, store, "2", "resp_1")
    newest = await store.inputs(ann, "resp_2", after=None, limit=2)
    assert ([item["id"] for item in newest.items], newest.has_more) == (["in_2", "out_1"], True)
    rest = await store.inputs(ann, "resp_2", after="out_1", limit=2)
    assert ([item["id"] for item in rest.items], rest.has_more) == (["in_1"], False)
    oldest = await store.inputs(ann, "resp_2", after=None, limit=1, order=Order.ASCENDING)
    assert oldest.items[0]["content"] == [{"type": "input_text", "text": "ask 1"}]
    for wrong, param in (({"after": "nobody", "limit": 1}, "after"), ({"limit": 0}, "limit")):
        with pytest.raises(InvalidRequest) as refused:
            await store.inputs(ann, "resp_2", **{"after": None, **wrong})  # type: ignore[arg-type]
        assert refused.value.param == param


async def test_another_organization_sees_nothing(both: World) -> None:
    store, bob = Responses(both.database, MOST), both.bob.organization_id
    await say(both, store, "1")
    for asked in (
        store.get(bob, "resp_1"),
        store.delete(bob, "resp_1"),
        store.recall(bob, "resp_1"),
        store.inputs(bob, "resp_1", after=None, limit=1),
    ):
        with pytest.raises(NotFound):
            await asked
    assert await store.get(both.ann.organization_id, "resp_1")


async def test_what_continues_a_deleted_one_can_be_read_and_not_continued(both: World) -> None:
    store, ann = Responses(both.database, MOST), both.ann.organization_id
    await say(both, store, "1")
    await say(both, store, "2", "resp_1")
    await store.delete(ann, "resp_1")
    assert await store.get(ann, "resp_2")
    left = await store.inputs(ann, "resp_2", after=None, limit=9)
    assert [item["id"] for item in left.items] == ["in_2"]
    with pytest.raises(NotFound, match="resp_1") as gone:
        await store.recall(ann, "resp_2")
    assert (gone.value.code, gone.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


async def test_it_may_be_tried_again(both: World) -> None:
    store, ann = Responses(both.database, MOST), both.ann.organization_id
    for _ in range(2):
        await say(both, store, "1")
    assert len((await store.recall(ann, "resp_1")).items) == 2


async def test_a_chain_has_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = world.ann.organization_id
    monkeypatch.setattr(responses, "MAX_CHAIN", 3)
    store = Responses(world.database, MOST)
    for number in range(4):
        await say(world, store, f"{number}", f"resp_{number - 1}" if number else None)
    with pytest.raises(InvalidRequest, match="4 responses or more") as long:
        await store.recall(ann, "resp_3")
    assert long.value.param == "previous_response_id"
    assert len((await store.inputs(ann, "resp_3", after=None, limit=9)).items) == 7
    size = (await store.recall(ann, "resp_2")).bytes
    assert await Responses(world.database, size).recall(ann, "resp_2")
    with pytest.raises(InvalidRequest, match=f"{size} bytes"):
        await Responses(world.database, size - 1).recall(ann, "resp_2")


async def test_what_can_not_be_recalled_in_time_is_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def stalled() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(world.database, "begin", stalled)
    monkeypatch.setattr(responses, "RECALL_WITHIN", 0.01)
    with pytest.raises(Unavailable):
        await Responses(world.database, 1).recall(world.ann.organization_id, "resp_1")
