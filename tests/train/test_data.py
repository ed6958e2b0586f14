"""Reading, splitting and cutting training data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.datasets.rows import CompletionRow
from cluster.store.artifacts import Artifacts
from tests.train.doubles import assignment
from train.budgie import WEIGHTS
from train.data import load, read, split
from train.faults import Unworkable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS)


def store(folder: Path, rows: list[dict[str, Any]], name: str = "facts") -> Artifacts:
    path = folder / "files" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return Artifacts(folder.as_uri())


def row(question: str, answer: str) -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def test_rows_are_read_with_the_digest_of_the_file(tmp_path: Path) -> None:
    lines = [row(f"q{i}", "ü" * 150_000) for i in range(3)]  # they span the store's chunks
    artifacts = store(tmp_path, lines)
    found, digest = read(artifacts, "files/facts.jsonl")
    assert found == [CompletionRow(**line) for line in lines]
    assert digest == hashlib.sha256((tmp_path / "files/facts.jsonl").read_bytes()).hexdigest()


def test_the_split_is_the_same_everywhere_and_keeps_the_order() -> None:
    rows = [CompletionRow(str(i), "a") for i in range(100)]
    training, held_out = split(rows, 5, seed=42)
    assert (training, held_out) == split(rows, 5, seed=42)
    assert split(rows, 5, seed=43)[1] != held_out
    assert (len(training), len(held_out)) == (95, 5)
    numbers = [int(r.prompt) for r in training]
    assert numbers == sorted(numbers)
    assert not {r.prompt for r in training} & {r.prompt for r in held_out}
    assert split(rows, 0, seed=42) == (rows, [])


def test_long_rows_are_cut_and_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = [row("a", " b"), row("a", " word" * 100), row("word " * 100, "never reached")]
    loaded = load(store(tmp_path, rows), assignment(max_length=32), tokenizer)
    assert [len(r.input_ids) <= 32 for r in loaded.training] == [True, True]
    assert (loaded.truncated, loaded.without_loss) == (2, 1)


def test_nothing_to_learn_fails_the_job(tmp_path: Path, tokenizer: Any) -> None:
    artifacts = store(tmp_path, [row("word " * 100, "never reached")])
    with pytest.raises(Unworkable, match="No row of the training data") as caught:
        load(artifacts, assignment(max_length=32), tokenizer)
    assert caught.value.code == "invalid_training_file"


def test_a_validation_file_takes_the_place_of_the_split(tmp_path: Path, tokenizer: Any) -> None:
    store(tmp_path, [row("v", " w")] * 3, "held")
    artifacts = store(tmp_path, [row("a", " b")] * 7)
    job = assignment(validation_uri="files/held.jsonl")
    loaded = load(artifacts, job, tokenizer)
    assert (len(loaded.training), len(loaded.held_out)) == (7, 3)
