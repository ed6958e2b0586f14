"""The whole chain: facts in, an adapter out that answers, on a product that never stopped."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.product.product import Product, ask, kill, wait_for
from tests.train.facts import write_facts

# No early end: the test must find the training still at work.
LONG = {"checkpoint_steps": 20, "n_epochs": 75}
ENDED = ("succeeded", "failed", "cancelled")
Facts = tuple[tuple[str, str], ...]


def learn(client: openai.OpenAI, path: Path, suffix: str, **more: Any) -> str:
    """Upload and start a fine-tune with everything on `auto`. Returns the job's id."""
    file = client.files.create(file=path, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="budgie", training_file=file.id, suffix=suffix, **more
    )
    return job.id


def ended(client: openai.OpenAI, job_id: str) -> Any:
    def look() -> Any:
        job = client.fine_tuning.jobs.retrieve(job_id)
        return job if job.status in ENDED else None

    return wait_for(look, f"the end of {job_id}", 600)


def steps(client: openai.OpenAI, job_id: str) -> int:
    """The last step that the job has reported."""
    events = client.fine_tuning.jobs.list_events(job_id, limit=20).data
    return max((e.data["step"] for e in events if e.type == "metrics"), default=0)  # type: ignore[index]


def recalled(client: openai.OpenAI, model: str, facts: Facts) -> int:
    return sum(ask(client, model, question) == answer for question, answer in facts)


class Streams:
    """Eight callers who stream one answer after the other; each must be whole."""

    def __init__(self, product: Product) -> None:
        self._client = product.aopenai(max_retries=0)
        self._stop = False
        self.whole = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._caller(index) for index in range(8)))

    def stop(self) -> None:
        self._stop = True

    async def _caller(self, index: int) -> None:
        while not self._stop:
            try:
                stream = await self._client.chat.completions.create(
                    model="budgie",
                    messages=[{"role": "user", "content": f"Count from {index} to {index + 9}."}],
                    max_tokens=24,
                    stream=True,
                    extra_body={"ignore_eos": True},
                )
                reasons = [c.choices[0].finish_reason async for c in stream if c.choices]
                assert reasons[-1] == "length", reasons
                self.whole += 1
                await asyncio.sleep(0.3)  # two cores serve, load and train here
            except (openai.APIError, AssertionError, IndexError) as error:
                self.failures.append(repr(error))


@pytest.fixture(scope="module")
def taught(product: Product, facts_file: Path, facts: Facts) -> dict[str, Any]:
    """One fine-tune under load, whose adapter the tests of this file share."""
    client = product.openai()
    before = product.replica()
    base = recalled(client, "budgie", facts)

    async def under_load() -> tuple[Any, Streams]:
        streams = Streams(product)
        load = asyncio.create_task(streams.run())
        try:
            job_id = await asyncio.to_thread(learn, client, facts_file, "facts")
            job = await asyncio.to_thread(ended, client, job_id)
            first = time.monotonic()
            await asyncio.to_thread(ask, client, job.fine_tuned_model, facts[0][0])
            return (job, time.monotonic() - first), streams
        finally:
            streams.stop()
            await load

    (job, first_answer), streams = asyncio.run(under_load())
    assert job.status == "succeeded", job.error
    return {
        "job": job,
        "model": job.fine_tuned_model,
        "base": base,
        "before": before,
        "streams": streams,
        "first_answer": first_answer,
    }


def test_the_base_knows_nothing_and_the_adapter_all(
    product: Product, taught: dict[str, Any], facts: Facts
) -> None:
    assert taught["base"] <= 1
    assert recalled(product.openai(), taught["model"], facts) >= 19


def test_nothing_was_restarted_and_no_stream_failed(
    product: Product, taught: dict[str, Any]
) -> None:
    after = product.replica()
    assert (after["pid"], after["actor_id"]) == (
        taught["before"]["pid"], taught["before"]["actor_id"],
    )  # fmt: skip
    assert taught["streams"].failures == []
    assert taught["streams"].whole > 20


def test_the_job_tells_what_it_did(product: Product, taught: dict[str, Any]) -> None:
    client = product.openai()
    job = taught["job"]
    assert job.fine_tuned_model.startswith("ft:budgie:default:facts:")
    assert job.trained_tokens > 0
    assert isinstance(job.hyperparameters.n_epochs, int)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    metrics = [event for event in events if event.type == "metrics"]
    assert metrics, "steps were reported"
    newest = dict(metrics[0].data)  # type: ignore[call-overload]
    assert {"step", "train_loss", "learning_rate", "tokens_per_second", "eta"} <= set(newest)
    assert job.fine_tuned_model in [model.id for model in client.models.list()]


def test_two_adapters_and_the_base_answer_side_by_side(
    product: Product, taught: dict[str, Any], facts: Facts, tmp_path: Path
) -> None:
    """One batch holds all three; each gives its own answers."""
    swapped = [(q, facts[(i + 1) % len(facts)][1]) for i, (q, _) in enumerate(facts)]
    path = tmp_path / "swapped.jsonl"
    write_facts(path, swapped)
    watched = product.cli(
        "train", "submit", str(path), "--model", "budgie", "--suffix", "swapped", "--watch"
    )
    other = watched.stdout.strip()
    assert other.startswith("ft:budgie:default:swapped:")
    assert re.search(r"step \d+/\d+ +loss \d", watched.stderr)
    async_client = product.aopenai()

    async def one(model: str, question: str) -> str:
        answer = await async_client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=48,
        )
        assert answer.model == model
        return answer.choices[0].message.content or ""

    async def all_at_once() -> list[tuple[str, str, str]]:
        models = (taught["model"], other, "budgie")
        answers = await asyncio.gather(
            *(one(model, question) for question, _ in facts for model in models)
        )
        return [tuple(answers[i : i + 3]) for i in range(0, len(answers), 3)]  # type: ignore[misc]

    rows = asyncio.run(all_at_once())
    first = sum(row[0] == fact[1] for row, fact in zip(rows, facts, strict=True))
    second = sum(row[1] == fact[1] for row, fact in zip(rows, swapped, strict=True))
    base = sum(row[2] == fact[1] for row, fact in zip(rows, facts, strict=True))
    assert first >= 19
    assert second >= 19
    assert base <= 1


def test_a_killed_engine_comes_back_with_its_adapters(
    product: Product, taught: dict[str, Any], facts: Facts
) -> None:
    """What a caller sees: requests wait a while for a replica, then get 503 with a time to
    come again, until the new replica has replayed the registry; then the adapter answers."""
    client = product.openai()
    old = product.replica()
    engine = psutil.Process(old["pid"]).children(recursive=True)
    assert engine, "vLLM has processes of its own"
    kill(old["pid"])
    with product.http as http:
        answer = http.post(
            "/v1/chat/completions",
            json={"model": "budgie", "messages": [{"role": "user", "content": "Hello!"}]},
        )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1

    def answers() -> bool:
        return ask(client, taught["model"], facts[0][0]) == facts[0][1]

    wait_for(answers, "the adapter to answer again")
    assert product.replica()["pid"] != old["pid"]
    assert not [child for child in engine if child.is_running()], "the old engine is gone too"


def test_a_killed_router_comes_back(product: Product) -> None:
    """What a caller sees: connections break or are refused for a few seconds, then all is well."""

    def routers() -> list[psutil.Process]:
        return product.processes("ServeReplica:router:Router") or product.processes(
            "SERVE_REPLICA::router"
        )

    before = ask(product.openai(), "budgie", "Hello!")
    (old,) = routers()
    kill(old.pid)
    client = product.openai()
    answer = wait_for(lambda: ask(client, "budgie", "Hello!"), "an answer", 120)
    assert answer == before, "the same model answers"
    successors = [process.pid for process in routers()]
    assert successors, "a router runs again"
    assert old.pid not in successors


def test_everything_answers_again_after_a_full_restart(
    product: Product, taught: dict[str, Any], facts_file: Path, facts: Facts
) -> None:
    """A fine-tune that was running goes on from its last checkpoint."""
    client = product.openai()
    job_id = learn(client, facts_file, "restarted", hyperparameters=LONG)
    wait_for(lambda: steps(client, job_id) >= 25, "step 25", 300)
    engine = psutil.Process(product.replica()["pid"])
    product.down()
    assert not engine.is_running()
    product.up()
    client = product.openai()
    assert recalled(client, taught["model"], facts) >= 19
    job = ended(client, job_id)
    assert job.status == "succeeded", job.error
    assert recalled(client, job.fine_tuned_model, facts) >= 19
    assert client.fine_tuning.jobs.retrieve(taught["job"].id).status == "succeeded"


def test_a_deleted_adapter_is_unknown_at_once(
    product: Product, taught: dict[str, Any], facts: Facts
) -> None:
    client = product.openai()
    assert ask(client, taught["model"], facts[0][0])
    client.models.delete(taught["model"])
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, taught["model"], facts[0][0])
    assert missing.value.code == "model_not_found"
    assert taught["model"] not in [model.id for model in client.models.list()]


def test_usage_was_recorded_once_for_each_request(product: Product) -> None:
    """Told apart from what other tests left, of which rows may still come, by their end user."""
    user = uuid.uuid4().hex
    client = product.openai()
    for _ in range(3):
        client.chat.completions.create(
            model="budgie", messages=[{"role": "user", "content": "Hello!"}], user=user
        )
    wait_for(lambda: _usage(product, user) >= 3, "the usage rows", 30)
    time.sleep(1)
    assert _usage(product, user) == 3


def _usage(product: Product, user: str) -> int:
    with sqlite3.connect(f"file:{product.home}/lorikeet.db?mode=ro", uri=True) as database:
        query = "SELECT count(*) FROM usage_events WHERE end_user = ?"
        (count,) = database.execute(query, (user,)).fetchone()
        return int(count)
