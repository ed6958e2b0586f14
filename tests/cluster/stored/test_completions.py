"""Stored chat completions on real databases."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import inspect

from cluster.errors import InvalidRequest, NotFound
from cluster.store.page import Order
from cluster.stored import completions
from cluster.stored.completions import Completions
from tests.cluster.jobs.world import World


def answer(name: str, model: str = "budgie") -> dict[str, Any]:
    return {"id": f"chatcmpl-{name}", "model": model, "choices": [{"message": {"content": "\0"}}]}


MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


async def ids(store: Completions, organization_id: str, **more: Any) -> list[str]:
    asked: dict[str, Any] = {"model": None, "labels": {}, "after": None, "limit": 100, **more}
    page = await store.page(organization_id, **asked)
    return [row.id.removeprefix("chatcmpl-") for row in page.items]


async def test_they_are_listed_by_model_and_by_labels(both: World) -> None:
    store, ann = Completions(both.database), both.ann.organization_id
    await store.add(both.ann, MESSAGES, answer("1"), {"run": "a", 'odd "key"': "é"})
    await store.add(both.ann, MESSAGES, answer("2", "bot"), {"run": "a"})
    await store.add(both.ann, MESSAGES, answer("3"), {"run": "b"})
    await store.add(both.bob, MESSAGES, answer("1"), {"run": "a"})
    assert await ids(store, ann) == ["1", "2", "3"]
    assert await ids(store, ann, order=Order.DESCENDING, limit=2) == ["3", "2"]
    assert await ids(store, ann, after="chatcmpl-1") == ["2", "3"]
    assert await ids(store, ann, model="bot") == ["2"]
    assert await ids(store, ann, labels={"run": "a"}) == ["1", "2"]
    assert await ids(store, ann, labels={"run": "a", 'odd "key"': "é"}) == ["1"]
    assert await ids(store, ann, labels={"run": "c"}) == []
    assert (await store.get(ann, "chatcmpl-1")).answer == answer("1")


async def test_a_page_ends_where_its_answers_are_large(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ann = Completions(both.database), both.ann.organization_id
    for name in "1234":
        await store.add(both.ann, MESSAGES, answer(name), {})
    monkeypatch.setattr(completions, "MAX_PAGE", 2 * len(orjson.dumps(answer("1"))))
    asked: dict[str, Any] = {"model": None, "labels": {}, "limit": 3}
    page = await store.page(ann, after=None, **asked)
    assert [row.answer for row in page.items] == [answer("1"), answer("2")]
    assert page.has_more
    assert all("messages" in inspect(row).unloaded for row in page.items), "no list shows them"
    page = await store.page(ann, after="chatcmpl-2", **asked)
    assert [row.answer for row in page.items] == [answer("3"), answer("4")]
    assert not page.has_more
    monkeypatch.setattr(completions, "MAX_PAGE", 1)
    assert await ids(store, ann) == ["1"], "one at least"


async def test_other_labels_stand_instead_of_all(both: World) -> None:
    store, ann = Completions(both.database), both.ann.organization_id
    await store.add(both.ann, MESSAGES, answer("1"), {"run": "a", "keep": "no"})
    row = await store.relabel(ann, "chatcmpl-1", {"run": "b"})
    assert row.labels == {"run": "b"}
    assert await ids(store, ann, labels={"run": "b"}) == ["1"]
    assert await ids(store, ann, labels={"keep": "no"}) == []


async def test_one_id_is_two_organizations_and_the_later_answer(both: World) -> None:
    store, ann, bob = (
        Completions(both.database), both.ann.organization_id, both.bob.organization_id,
    )  # fmt: skip
    await store.add(both.bob, MESSAGES, answer("1", "bobs"), {})
    for model in ("early", "late"):
        await store.add(both.ann, MESSAGES, answer("1", model), {"of": model})
    assert (await store.get(ann, "chatcmpl-1")).model == "late"
    assert await ids(store, ann, labels={"of": "early"}) == []
    await store.delete(ann, "chatcmpl-1")
    with pytest.raises(NotFound):
        await store.get(ann, "chatcmpl-1")
    assert (await store.get(bob, "chatcmpl-1")).model == "bobs"


async def test_the_messages_that_it_answers(both: World) -> None:
    store, ann = Completions(both.database), both.ann.organization_id
    await store.add(both.ann, MESSAGES, answer("1"), {})
    page = await store.messages(ann, "chatcmpl-1", after=None, limit=1)
    assert page.items == ({**MESSAGES[0], "id": "chatcmpl-1-0"},)
    assert page.has_more
    rest = await store.messages(ann, "chatcmpl-1", after="chatcmpl-1-0", limit=1)
    assert rest.items == ({**MESSAGES[1], "id": "chatcmpl-1-1"},)
    with pytest.raises(InvalidRequest):
        await store.messages(ann, "chatcmpl-1", after="chatcmpl-1-9", limit=1)


async def test_another_organization_sees_nothing(both: World) -> None:
    store, bob = Completions(both.database), both.bob.organization_id
    await store.add(both.ann, MESSAGES, answer("1"), {"run": "a"})
    assert await ids(store, bob) == []
    for asked in (
        store.get(bob, "chatcmpl-1"),
        store.delete(bob, "chatcmpl-1"),
        store.relabel(bob, "chatcmpl-1", {}),
        store.messages(bob, "chatcmpl-1", after=None, limit=1),
    ):
        with pytest.raises(NotFound):
            await asked
