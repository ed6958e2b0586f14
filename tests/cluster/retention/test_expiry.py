"""Stored answers go when their time is over, and a conversation stays whole until then."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from cluster.retention.expiry import Expiry
from cluster.retention.policy import Policy
from cluster.settings import Settings
from cluster.store.schema import StoredCompletion, StoredLabel, StoredResponse, now
from tests.cluster.jobs.world import World

DAY = timedelta(days=1)
POLICY = Policy(DAY, DAY, stored_answer=30 * DAY)


def response(name: str, thread: str, days: float, previous: str | None = None) -> StoredResponse:
    return StoredResponse(
        id=name, organization_id="org-ann", project_id="p", key_id="k", thread_id=thread,
        previous_id=previous, input=[], answer={}, bytes=0, created_at=now() - days * DAY,
    )  # fmt: skip


async def test_old_answers_go_in_batches_and_what_is_young_stays(both: World) -> None:
    async with both.database.begin() as session:
        session.add_all(response(f"old{n}", f"old{n}", 31) for n in range(5))
        session.add_all(
            [response("begin", "begin", 90), response("end", "begin", 29, "begin"),
             response("dead", "dead", 90), response("dead2", "dead", 31, "dead")]
        )  # fmt: skip
        for name, days in (("a", 31), ("b", 29)):
            session.add(
                StoredCompletion(
                    organization_id="org-ann", id=name, project_id="p", key_id="k", model="m",
                    messages=[], answer={}, bytes=2, labels={"x": "y"},
                    created_at=now() - days * DAY,
                )
            )  # fmt: skip
            await session.flush()
            session.add(
                StoredLabel(organization_id="org-ann", completion_id=name, key="x", value="y")
            )
    expiry = Expiry(both.database, POLICY, batch=2)
    assert await expiry.step() == 5 + 2 + 1
    assert await expiry.step() == 0
    async with both.database.begin() as session:
        left = await session.scalars(select(StoredResponse.id).order_by(StoredResponse.id))
        assert list(left) == ["begin", "end"]
        assert list(await session.scalars(select(StoredCompletion.id))) == ["b"]
        assert await session.scalar(select(func.count()).select_from(StoredLabel)) == 1


def test_how_long_is_a_setting(settings: Settings) -> None:
    assert Policy.of(settings).stored_answer == timedelta(days=30)
    chosen = settings.model_copy(update={"stored_keep": 60.0})
    assert Policy.of(chosen).stored_answer == timedelta(minutes=1)
