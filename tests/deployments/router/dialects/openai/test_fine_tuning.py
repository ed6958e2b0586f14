from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI, ConflictError

from cluster.jobs.journal import Progress
from cluster.jobs.states import JobState
from cluster.jobs.transition import append, move, seize
from cluster.store.schema import JobCheckpoint, now
from deployments.router.dialects.openai.fine_tuning_shapes import STATUS
from tests.deployments.router.dialects.openai.serving import Served


async def test_the_openai_client_sees_a_whole_job(ann: Served) -> None:
    client: AsyncOpenAI = ann.openai
    world = ann.world
    file_id = await world.upload(world.ann)
    job = await client.fine_tuning.jobs.create(
        model="budgie",
        training_file=file_id,
        suffix="mine",
        seed=7,
        metadata={"a": "b"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 2.0}},
        },
    )
    assert (job.status, job.seed, job.metadata) == ("validating_files", 7, {"a": "b"})
    assert job.hyperparameters.n_epochs == 3
    assert job.hyperparameters.batch_size == "auto"
    supervision = world.supervision()
    await world.settle(supervision)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.hyperparameters.batch_size) == ("running", 10)
    async with world.database.begin() as session:
        row = await seize(session, job.id)
        assert row is not None
        move(session, row, JobState.TRAINING, "training")
        row.metrics = {"at": now().timestamp(), "eta": 60.0}
        told = {"step": 1, "train_loss": 2.0, "at": 1_790_000_000.25}
        append(session, row, "Step 1", kind="metrics", data=told)
        session.add(
            JobCheckpoint(id="c1", job_id=row.id, step=5, uri="u", metrics={"train_loss": 1.0})
        )
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.estimated_finish is not None
    assert job.estimated_finish > job.created_at
    async with world.database.begin() as session:
        row = await seize(session, job.id)
        assert row is not None
        row.metrics = {"at": now().timestamp() - 61.0, "eta": 60.0}
    stale = await client.fine_tuning.jobs.retrieve(job.id)
    assert stale.estimated_finish is None, "it is of the attempt before"
    async with world.database.begin() as session:
        row = await seize(session, job.id)
        assert row is not None
        row.metrics = {"at": now().timestamp(), "eta": 60.0}
    events = await client.fine_tuning.jobs.list_events(job.id, limit=2)
    assert (events.data[0].type, events.has_more) == ("metrics", True)
    data: Any = events.data[0].data
    assert data == told, "a step keeps the time of its own"
    data = events.data[1].data
    assert data["at"] == pytest.approx(events.data[1].created_at, abs=1)
    assert len([event async for event in events]) > 5
    (checkpoint,) = (await client.fine_tuning.jobs.checkpoints.list(job.id)).data
    assert (checkpoint.step_number, checkpoint.metrics.train_loss) == (5, 1.0)
    job = await client.fine_tuning.jobs.pause(job.id)
    await supervision.step()
    await supervision.step()
    paused = (await ann.http.get(f"/v1/fine_tuning/jobs/{job.id}")).json()
    assert (paused["status"], paused["estimated_finish"]) == ("paused", None)
    job = await client.fine_tuning.jobs.resume(job.id)
    assert (job.status, job.estimated_finish) == ("queued", None)
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    with pytest.raises(ConflictError):
        await client.fine_tuning.jobs.resume(job.id)
    assert [found.id async for found in client.fine_tuning.jobs.list(limit=1)] == [job.id]


def test_each_state_has_a_status() -> None:
    assert set(STATUS) == set(JobState)
    assert Progress.__dataclass_fields__.keys() >= {"step", "max_steps", "eta"}


async def test_a_failed_job_says_why(ann: Served) -> None:
    job = await ann.world.create(ann.world.ann, b'{"messages": []}')
    await ann.world.settle(ann.world.supervision())
    found = await ann.openai.fine_tuning.jobs.retrieve(job.id)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error.code, found.error.param) == ("invalid_training_file", "training_file")
    assert "line 1, messages" in found.error.message


async def test_an_idempotency_key(ann: Served) -> None:
    file_id = await ann.world.upload(ann.world.ann)
    body = {"model": "budgie", "training_file": file_id}
    headers = {"Idempotency-Key": "k"}
    url = "/v1/fine_tuning/jobs"
    first = await ann.http.post(url, json=body, headers=headers)
    again = await ann.http.post(url, json=body, headers=headers)
    other = await ann.http.post(url, json={**body, "suffix": "x"}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "nope"}, 404, "model"),
        ({"model": None}, 400, "model"),
        ({"training_file": "file-0"}, 404, "training_file"),
        ({"color": "red"}, 400, "color"),
        ({"suffix": "ü"}, 400, "suffix"),
        ({"suffix": "x" * 65}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": "7"}, 400, "seed"),
        ({"integrations": [{"type": "wandb"}]}, 400, "integrations"),
        ({"method": {"type": "dpo", "dpo": {}}}, 400, "method.type"),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"hyperparameters": {"learning_rate": -0.1}}, 400, "hyperparameters.learning_rate"),
        ({"hyperparameters": {"learning_rate": 10**400}}, 400, "hyperparameters.learning_rate"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "3"}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 10**300}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"rank": 65}}, 400, "hyperparameters.rank"),
        ({"hyperparameters": {"target_modules": ["x"]}}, 400, "hyperparameters.target_modules"),
        ({"hyperparameters": {"target_modules": [1]}}, 400, "hyperparameters.target_modules"),
        ({"hyperparameters": {"zero_stage": 4}}, 400, "hyperparameters.zero_stage"),
        ({"hyperparameters": {"training_method": "x"}}, 400, "hyperparameters.training_method"),
        ({"hyperparameters": {"wat": 1}}, 400, "hyperparameters.wat"),
    ],
)
async def test_bad_bodies(ann: Served, change: dict[str, Any], status: int, param: str) -> None:
    file_id = await ann.world.upload(ann.world.ann)
    body = {"model": "budgie", "training_file": file_id} | change
    answer = await ann.http.post("/v1/fine_tuning/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert (await ann.http.get("/v1/fine_tuning/jobs")).json()["data"] == []


@pytest.mark.parametrize("given", [("learning_rate_multiplier", -1), ("n_epochs", "3"), ("wat", 1)])
async def test_a_nested_hyperparameter_is_named_as_it_was_sent(
    ann: Served, given: tuple[str, Any]
) -> None:
    name, value = given
    file_id = await ann.world.upload(ann.world.ann)
    method = {"type": "supervised", "supervised": {"hyperparameters": {name: value}}}
    body = {"model": "budgie", "training_file": file_id, "method": method}
    error = (await ann.http.post("/v1/fine_tuning/jobs", json=body)).json()["error"]
    path = f"method.supervised.hyperparameters.{name}"
    assert error["param"] == path
    assert path in error["message"]


async def test_not_a_number(ann: Served) -> None:
    file_id = await ann.world.upload(ann.world.ann)
    body = (
        f'{{"model": "budgie", "training_file": "{file_id}", '
        '"hyperparameters": {"learning_rate_multiplier": NaN, "dropout": 0.1}}'
    )
    headers = {"content-type": "application/json"}
    answer = await ann.http.post("/v1/fine_tuning/jobs", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "hyperparameters.learning_rate_multiplier"


async def test_scopes_and_foreign_jobs(ann: Served, bob: Served, inferring: Served) -> None:
    job = await ann.world.create(ann.world.ann)
    for path in ("", "/events", "/checkpoints"):
        url = f"/v1/fine_tuning/jobs/{job.id}{path}"
        assert (await ann.http.get(url)).status_code == 200
        assert (await bob.http.get(url)).status_code == 404
        assert (await inferring.http.get(url)).status_code == 403
    for action in ("cancel", "pause", "resume"):
        url = f"/v1/fine_tuning/jobs/{job.id}/{action}"
        assert (await bob.http.post(url)).status_code == 404
        assert (await inferring.http.post(url)).status_code == 403
