"""Fine-tunes from the command line: what is sent, what a watcher sees, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import train_progress

from .conftest import Broken, Endpoint, Run

PATH = "/v1/fine_tuning/jobs"


def job(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "ftjob-1", "status": status, "model": "budgie", "fine_tuned_model": None, **more}


def event(number: int, message: str, **data: Any) -> dict[str, Any]:
    kind = "metrics" if data else "message"
    return {"id": f"e{number}", "type": kind, "message": message, "data": data, "level": "info"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_progress, "POLL_SECONDS", 0)


@pytest.fixture
def data(tmp_path: Path) -> str:
    (tmp_path / "a.jsonl").write_text("{}\n")
    return str(tmp_path / "a.jsonl")


def test_only_what_was_given_is_sent(endpoint: Endpoint, run: Run, data: str) -> None:
    endpoint.answers["POST /v1/files"] = (200, {"id": "file-1"})
    endpoint.answers[f"POST {PATH}"] = (200, job("queued"))
    assert run("train", "submit", data, "--model", "budgie").out == "ftjob-1\n"
    assert endpoint.asked[1].json() == {"model": "budgie", "training_file": "file-1"}


def test_hyperparameters_go_where_openai_has_them(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[f"POST {PATH}"] = (200, job("queued"))
    words = ["--epochs", "3", "--batch-size", "4", "--suffix", "birds", "--seed", "7"]
    assert run("train", "submit", "file-9", "-m", "budgie", *words, "--json").json()["id"]
    assert endpoint.asked[0].json() == {
        "model": "budgie",
        "training_file": "file-9",
        "suffix": "birds",
        "seed": 7,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 4}},
        },
    }


@pytest.mark.parametrize("deleting", [200, 500])
def test_a_refused_job_takes_its_uploads_back(
    endpoint: Endpoint, run: Run, data: str, deleting: int
) -> None:
    endpoint.answers["POST /v1/files"] = [(200, {"id": "file-1"}), (200, {"id": "file-2"})]
    endpoint.answers[f"POST {PATH}"] = (400, {"error": {"message": "n_epochs is 0."}})
    endpoint.answers["DELETE /v1/files/file-1"] = (deleting, {"error": {"message": "Not now."}})
    endpoint.answers["DELETE /v1/files/file-2"] = (200, {"id": "file-2"})
    found = run("train", "submit", data, "-m", "budgie", "--validation", data, "--epochs", "0")
    assert found.code == 1
    assert found.err.splitlines()[-1] == "lorikeet: n_epochs is 0."
    deleted = [asked.path for asked in endpoint.asked if asked.method == "DELETE"]
    assert deleted == ["/v1/files/file-1", "/v1/files/file-2"]


def test_a_missing_validation_file_takes_the_upload_back(
    endpoint: Endpoint, run: Run, data: str
) -> None:
    endpoint.answers["POST /v1/files"] = (200, {"id": "file-1"})
    endpoint.answers["DELETE /v1/files/file-1"] = (200, {"id": "file-1"})
    found = run("train", "submit", data, "-m", "budgie", "--validation", "nowhere.jsonl")
    assert found.err.splitlines()[-1] == "lorikeet: There is no file nowhere.jsonl."
    assert [asked.method for asked in endpoint.asked] == ["POST", "DELETE"]


@pytest.mark.parametrize(("status", "given"), [(500, None), (400, "file-9")])
def test_files_of_others_and_of_a_job_that_may_be_stay(
    endpoint: Endpoint, run: Run, data: str, status: int, given: str | None
) -> None:
    endpoint.answers["POST /v1/files"] = (200, {"id": "file-1"})
    endpoint.answers[f"POST {PATH}"] = (status, {"error": {"message": "No."}})
    assert run("train", "submit", given or data, "-m", "budgie").code == 1
    assert {asked.method for asked in endpoint.asked} == {"POST"}


def test_watch_tells_each_event_once(endpoint: Endpoint, run: Run) -> None:
    first, second = event(1, "Started"), event(2, "", step=5, max_steps=10, train_loss=0.5, eta=9.0)
    endpoint.answers[f"GET {PATH}/ftjob-1"] = [
        (200, job("running")),
        (200, job("running")),
        (200, job("succeeded", fine_tuned_model="ft:budgie:x")),
    ]
    endpoint.answers[f"GET {PATH}/ftjob-1/events"] = [
        (200, {"data": [first]}),
        (200, {"data": [second]}),
        (200, {"data": []}),
    ]
    found = run("train", "watch", "ftjob-1")
    assert (found.code, found.out) == (0, "ft:budgie:x\n")
    assert found.err == "Started\nstep 5/10  loss 0.5000  9 s left\n"
    asked = [a.path.partition("?")[2] for a in endpoint.asked if "/events" in a.path]
    assert asked == [f"limit=100&order=asc{after}" for after in ("", "&after=e1", "&after=e2")]


def test_a_watch_outlives_its_router(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[f"GET {PATH}/ftjob-1"] = [
        (503, {"error": {"message": "No router.", "code": "service_unavailable"}}),
        (200, Broken('{"id')),
        (200, job("succeeded", fine_tuned_model="ft:budgie:x")),
    ]
    endpoint.answers[f"GET {PATH}/ftjob-1/events"] = (200, {"data": []})
    found = run("train", "watch", "ftjob-1")
    assert (found.code, found.out, found.err) == (0, "ft:budgie:x\n", "")


def test_a_watch_has_an_end(endpoint: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_progress, "PATIENCE", 0)
    endpoint.answers[f"GET {PATH}/ftjob-1"] = (503, {"error": {"message": "No router."}})
    found = run("train", "watch", "ftjob-1")
    assert (found.code, found.err) == (1, "lorikeet: No router.\n")


def test_ctrl_c_leaves_the_job_running(
    endpoint: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_progress.time, "sleep", interrupt)
    endpoint.answers[f"GET {PATH}/ftjob-1"] = (200, job("running"))
    endpoint.answers[f"GET {PATH}/ftjob-1/events"] = (200, {"data": []})
    found = run("train", "watch", "ftjob-1")
    assert found.code == 130
    assert found.err == "It goes on without you: lorikeet train watch ftjob-1\n"
    assert {asked.method for asked in endpoint.asked} == {"GET"}


def test_a_failed_job_fails_the_watch(endpoint: Endpoint, run: Run) -> None:
    ended = job("failed", error={"message": "Line 3 is not JSON."})
    endpoint.answers[f"GET {PATH}/ftjob-1"] = (200, ended)
    endpoint.answers[f"GET {PATH}/ftjob-1/events"] = (200, {"data": []})
    found = run("train", "watch", "ftjob-1", "--json")
    assert found.code == 1
    assert found.json() == ended
    assert json.loads(found.err)["error"]["message"] == "The job failed: Line 3 is not JSON."
    assert run("train", "watch", "ftjob-1").err == "lorikeet: The job failed: Line 3 is not JSON.\n"


@pytest.mark.parametrize(
    ("word", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")]
)
def test_a_job_is_moved(endpoint: Endpoint, run: Run, word: str, status: str) -> None:
    endpoint.answers[f"POST {PATH}/ftjob-1/{word}"] = (200, job(status))
    found = run("train", word, "ftjob-1")
    assert (found.code, found.out, found.err) == (0, f"ftjob-1 {status}\n", "")


def test_a_running_job_pauses_later(endpoint: Endpoint, run: Run) -> None:
    endpoint.answers[f"POST {PATH}/ftjob-1/pause"] = (200, job("running"))
    found = run("train", "pause", "ftjob-1")
    assert found.out == "ftjob-1 running\n"
    assert found.err == "It pauses when its checkpoint is written.\n"


def test_checkpoints_show_their_metrics(endpoint: Endpoint, run: Run) -> None:
    row = {"id": "c1", "step_number": 5, "metrics": {"step": 5, "train_loss": 0.25}}
    endpoint.answers[f"GET {PATH}/ftjob-1/checkpoints"] = (200, {"data": [row]})
    assert "train_loss 0.25" in run("train", "checkpoints", "ftjob-1").out


def test_events_are_oldest_first(endpoint: Endpoint, run: Run) -> None:
    rows = [{**event(n, f"m{n}"), "created_at": n} for n in (2, 1)]
    endpoint.answers[f"GET {PATH}/ftjob-1/events"] = (200, {"data": rows, "has_more": False})
    out = run("train", "events", "ftjob-1").out
    assert out.index("m1") < out.index("m2")
