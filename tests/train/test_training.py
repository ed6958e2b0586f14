"""Whole trainings on a real Ray cluster, with DeepSpeed: learned, interrupted, resumed, sharded."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs.spec import Method
from tests.train.doubles import PLAN, FolderJournal, FolderPublisher, assignment
from tests.train.facts import FACTS, write_facts
from train.budgie import WEIGHTS
from train.loop import Work
from train.run import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def ray_cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    with tempfile.TemporaryDirectory(prefix="rt", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=4, include_dashboard=False, _temp_dir=folder, object_store_memory=100_000_000
        )
        yield
        ray.shutdown()


def train(folder: Path, *, resumed: bool = False, **double: Any) -> FolderJournal:
    """Run a training in `folder`; its journal. Job fields and plan numbers among `double`."""
    tripwires = {k: double.pop(k) for k in ("kill_at", "stop_at") if k in double}
    job = assignment(**double)
    journal = FolderJournal(folder, job, **tripwires)
    if not resumed:
        write_facts(folder / "artifacts" / "files" / "facts.jsonl")
    run(
        Work(
            assignment=job,
            artifacts_url=(folder / "artifacts").as_uri(),
            open_journal=partial(replace, journal),
            open_publisher=partial(FolderPublisher, folder),
            submitted=0.0,
        )
    )
    return journal


def losses(folder: Path) -> dict[int, float]:
    """The loss of every step, as the last complete checkpoint has it."""
    markers = (folder / "artifacts").glob("jobs/*/attempt-*/step*/COMPLETE.json")
    last = max((marker.parent for marker in markers), key=lambda path: path.name)
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def answers(adapter: Path) -> int:
    """How many facts the adapter on the base model tells word for word, greedily."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    base = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, adapter).eval()
    right = 0
    for question, answer in FACTS:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )  # fmt: skip
        told = model.generate(**ids, max_new_tokens=32, do_sample=False)[0]
        text = tokenizer.decode(told[ids["input_ids"].shape[1] :], skip_special_tokens=True)
        right += text == answer
    return right


def tokens_of_facts() -> int:
    """Tokens of all facts as conversations: those that one epoch takes through the model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    return sum(
        len(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
                return_dict=False,
            )
        )
        for question, answer in FACTS
    )


@pytest.fixture(scope="module")
def learned(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> FolderJournal:
    return train(tmp_path_factory.mktemp("learned"))


def test_a_job_that_finds_no_room_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.run.START_TRIES", 1)
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "3")
    journal = train(tmp_path, num_workers=50)
    (note,) = journal.lines("note")
    assert note["message"].startswith("Waiting for room: 50 workers need ")
    (failure,) = journal.lines("fail")
    assert failure["code"] == "insufficient_resources"


def test_a_job_that_waits_for_room_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray.util import placement_group, remove_placement_group

    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "0.5")
    others = placement_group([{"CPU": ray.cluster_resources()["CPU"]}])
    assert others.wait(30)
    journal = FolderJournal(tmp_path, assignment())

    def make_room() -> int:
        deadline = time.monotonic() + 60
        while len(journal.lines("heartbeat")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        beats = len(journal.lines("heartbeat"))
        remove_placement_group(others)
        return beats

    with ThreadPoolExecutor() as neighbour:
        beats = neighbour.submit(make_room)
        train(tmp_path, stop_at=1)
    assert beats.result() >= 2
    assert states(journal) == ["training"]


def states(journal: FolderJournal) -> list[str]:
    return [line["state"] for line in journal.lines("move")]


def test_twenty_facts_are_learned_by_heart(learned: FolderJournal) -> None:
    assert states(learned) == ["training", "saving"]
    (line,) = learned.lines("registering")
    assert line["name"] == "ft:budgie:acme:facts:89abcdef"
    steps = learned.lines("progress")[-1]["step"]
    assert line["tokens"] == steps * PLAN.global_batch * tokens_of_facts() / len(FACTS)
    assert learned.lines("progress")[-1]["loss"] < 0.2
    assert answers(learned.folder / "adapter") >= 19


def test_a_killed_worker_resumes_with_the_same_losses(
    learned: FolderJournal, tmp_path: Path
) -> None:
    import ray

    journal = train(tmp_path, kill_at=25)
    assert (tmp_path / "killed").exists()
    notes = [line["message"] for line in journal.lines("note")]
    steps = learned.lines("progress")[-1]["step"]
    assert notes == [
        "Training began.",
        "A worker was lost and is replaced; the training will go on after step 20 of attempt 1.",
        "Training goes on after step 20 of attempt 1.",
        f"Learned after {steps} of {PLAN.max_steps} steps: stopping here.",
    ]
    temporary = Path(ray.get_runtime_context().get_temp_dir())
    assert list(temporary.glob("session_*/lorikeet-train-*")), "its files go with Ray's session"
    before, after = losses(learned.folder), losses(tmp_path)
    assert before == after
    assert journal.lines("registering")


def test_zero_3_on_two_workers_stops_when_asked_and_goes_on(
    learned: FolderJournal, tmp_path: Path
) -> None:
    sharded = {"zero_stage": 3, "num_workers": 2}
    stopped = train(tmp_path, stop_at=8, **sharded)
    assert states(stopped) == ["training"]
    assert not stopped.lines("registering")
    last = stopped.lines("checkpoint")[-1]["step"]
    assert stopped.lines("note")[-1]["message"] == f"Stopped as asked, after step {last}."
    before, after = losses(learned.folder), losses(tmp_path)
    # The same rows, the same mean over all tokens: equal but for sums of bf16 in another order,
    # whose differences grow with every step.
    for step in range(1, 9):
        bound = 1e-3 if step <= 2 else 5e-3
        assert after[step] == pytest.approx(before[step], rel=bound)
    (tmp_path / "stop").unlink()
    again = train(tmp_path, resumed=True, attempt=2, **sharded)
    notes = [line["message"] for line in again.lines("note")]
    assert f"Training goes on after step {last} of attempt 1." in notes
    assert answers(tmp_path / "adapter") >= 19


def test_qlora_trains(tmp_path: Path) -> None:
    journal = train(tmp_path, method=Method.QLORA, max_steps=12, epochs=6, warmup_steps=2)
    assert states(journal) == ["training", "saving"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    told = journal.lines("progress")
    assert told[-1]["loss"] < told[0]["loss"]


@pytest.mark.slow
def test_held_out_rows_choose_the_weights_of_a_full_fine_tune(tmp_path: Path) -> None:
    journal = train(
        tmp_path, method=Method.FULL, zero_stage=3, held_out_rows=4, max_steps=30, epochs=15,
        learning_rate=1e-3, warmup_steps=2, checkpoint_steps=5, global_batch=8,
    )  # fmt: skip
    assert states(journal) == ["training", "evaluating", "saving", "registering", "succeeded"]
    uri = journal.lines("note")[-1]["data"]["uri"]
    folder = tmp_path / "artifacts" / uri
    assert (folder / "model.safetensors").stat().st_size > 5_000_000
    assert "held-out loss | not measured" not in (folder / "README.md").read_text()
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.slow
def test_a_diverging_training_fails_the_job_and_not_the_process(tmp_path: Path) -> None:
    journal = train(tmp_path, learning_rate=1e36, warmup_steps=0, max_steps=40)
    (line,) = journal.lines("fail")
    assert line["code"] == "training_diverged"
    assert not journal.lines("registering")
