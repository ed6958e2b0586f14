"""Fine-tunes that are stopped, by their owner or by an accident; and input that is no good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.product.product import Product, kill, wait_for
from tests.product.test_loop import LONG, Facts, ended, learn, recalled, steps

MEGABYTE = 2**20
GOOD = b'{"prompt": "What is up?", "completion": "The sky."}\n'


def test_a_job_is_cancelled_before_and_while_it_trains(product: Product, facts_file: Path) -> None:
    """The second job waits behind the first: both end as cancelled, and leave no model."""
    client = product.openai()
    running = learn(client, facts_file, "cancelled", hyperparameters=LONG)
    wait_for(lambda: steps(client, running) >= 5, "step 5", 300)
    waiting = learn(client, facts_file, "waiting", hyperparameters=LONG)
    for job_id in (waiting, running):
        client.fine_tuning.jobs.cancel(job_id)
    for job_id in (waiting, running):
        job = ended(client, job_id)
        assert (job.status, job.fine_tuned_model) == ("cancelled", None)
    wait_for(lambda: not product.processes("RayTrainWorker"), "the workers to end", 60)
    assert not [m.id for m in client.models.list() if "cancelled" in m.id or "waiting" in m.id]
    with product.http as http:
        again = http.post(f"/v1/fine_tuning/jobs/{running}/cancel")
    assert again.status_code == 200, "cancelling twice is no mistake"
    assert client.fine_tuning.jobs.retrieve(running).status == "cancelled"


@pytest.mark.parametrize("process", ["train.run --job {job_id}", "RayTrainWorker"])
def test_a_killed_process_is_noticed_and_the_job_succeeds(
    product: Product, facts_file: Path, facts: Facts, process: str
) -> None:
    """What a caller sees when a driver or a worker dies: the job goes on from its checkpoint."""
    client = product.openai()
    job_id = learn(client, facts_file, "killed", hyperparameters=LONG)
    wait_for(lambda: steps(client, job_id) >= 25, "step 25", 300)
    running = product.processes(process.format(job_id=job_id))
    assert running
    kill(running[0].pid)
    job = ended(client, job_id)
    assert job.status == "succeeded", job.error
    assert recalled(client, job.fine_tuned_model, facts) >= 19


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "not UTF-8": (b'{"prompt": "caf\xe9", "completion": "x"}\n', "UTF-8"),
    "a line of 10 MB": (
        GOOD + b'{"prompt": "' + b"x" * (10 * MEGABYTE) + b'", "completion": "y"}\n', "line 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_text_is_refused(product: Product, case: str) -> None:
    content, sentence = BAD_FILES[case]
    with product.http as http:
        files = ids(http, "/v1/files")
        answer = http.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("bad.jsonl", content)}
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "file")
        assert sentence in error["message"]
        assert ids(http, "/v1/files") == files


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (GOOD + b"{prompt: 1}\n", "line 2"),
        (b'{"messages": [{"role": "user", "content": "Hi"}]}\n', "line 1"),
    ],
)
def test_a_bad_line_ends_the_job_before_it_is_queued(
    product: Product, content: bytes, line: str
) -> None:
    """As with OpenAI: the job fails while its files are validated, and says which line it was."""
    client = product.openai()
    file = client.files.create(file=("bad.jsonl", content), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="budgie", training_file=file.id)
    failed = ended(client, job.id)
    assert (failed.status, failed.error.param) == ("failed", "training_file")
    assert line in failed.error.message
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    assert not [event for event in events if "queued" in event.message.lower()]
    client.files.delete(file.id)


def test_a_bad_job_is_refused_by_its_field(product: Product) -> None:
    with product.http as http:
        uploaded = http.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("good.jsonl", GOOD)}
        )
        file = uploaded.raise_for_status().json()["id"]
        jobs = ids(http, "/v1/fine_tuning/jobs")
        good = {"model": "budgie", "training_file": file}
        rate = {"hyperparameters": {"learning_rate_multiplier": -1}}
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({**good, "model": "parrot"}, 404, "model"),
            ({**good, "training_file": "file-nowhere"}, 404, "training_file"),
            ({**good, **rate}, 400, "hyperparameters.learning_rate_multiplier"),
            ({**good, "modle": "budgie"}, 400, "modle"),
            ({"training_file": file}, 400, "model"),
        ]
        for body, status, field in cases:
            answer = http.post("/v1/fine_tuning/jobs", json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (status, field), error
        broken = http.post(
            "/v1/fine_tuning/jobs",
            content=json.dumps(good)[:-2],
            headers={"content-type": "application/json"},
        )
        assert broken.status_code == 400
        assert "JSON" in broken.json()["error"]["message"]
        assert ids(http, "/v1/fine_tuning/jobs") == jobs
        http.delete(f"/v1/files/{file}").raise_for_status()


def ids(http: httpx.Client, path: str) -> list[str]:
    return [row["id"] for row in http.get(path).raise_for_status().json()["data"]]
