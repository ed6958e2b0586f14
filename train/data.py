"""Training data: JSONL in the artifact store to rows of tokens, and the rows held out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.datasets.rows import Row
from cluster.datasets.validation import rows
from cluster.jobs.journal import Assignment
from cluster.store.artifacts import Artifacts
from train.faults import Unworkable
from train.masking import Encoded, encode

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Rows:
    """The rows to train on, those held out (may be empty), and what happened on the way."""

    training: list[Encoded]
    held_out: list[Encoded]
    truncated: int
    """Rows cut at `max_length`."""
    without_loss: int
    """Rows dropped since no token of theirs has a loss."""
    sha256: str
    """Of the training file."""


def load(artifacts: Artifacts, assignment: Assignment, tokenizer: PreTrainedTokenizerBase) -> Rows:
    """Read, split and tokenise the job's data. Raises Unworkable if nothing is left to learn."""
    plan = assignment.plan
    whole, sha256 = read(artifacts, assignment.training_uri)
    if assignment.validation_uri is not None:
        training, held_out = whole, read(artifacts, assignment.validation_uri)[0]
    else:
        training, held_out = split(whole, plan.held_out_rows, plan.seed)
    truncated = without_loss = 0
    sets: list[list[Encoded]] = []
    for part in (training, held_out):
        kept = []
        for row in part:
            encoded = encode(tokenizer, row)
            if len(encoded.input_ids) > plan.max_length:
                truncated += 1
                encoded = encoded.cut(plan.max_length)
            if encoded.trainable:
                kept.append(encoded)
            else:
                without_loss += 1
        sets.append(kept)
    if not sets[0]:
        raise Unworkable(
            "invalid_training_file",
            "No row of the training data has a token to learn: every assistant message is empty "
            f"or begins after the {plan.max_length} tokens that a row may have.",
            param="training_file",
        )
    return Rows(sets[0], sets[1], truncated, without_loss, sha256)


def read(artifacts: Artifacts, uri: str) -> tuple[list[Row], str]:
    """The rows of a file that has been validated, and the sha256 of its bytes in hex."""
    digest = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        for chunk in artifacts.read(uri):
            digest.update(chunk)
            yield chunk

    return list(rows(chunks())), digest.hexdigest()


def split(rows: Sequence[Row], held_out: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Part `held_out` rows from the others, the same ones on every worker and attempt.

    Both parts keep the file's order.
    """
    assert 0 <= held_out < max(len(rows), 1), f"{held_out} of {len(rows)} rows can not be held out"
    chosen = set(random.Random(seed).sample(range(len(rows)), held_out))
    training = [row for at, row in enumerate(rows) if at not in chosen]
    return training, [rows[at] for at in sorted(chosen)]


def as_dataset(rows: Sequence[Encoded]) -> Dataset:
    """The rows as the columns `input_ids` and `labels`, ready for the trainer's collator."""
    from datasets import Dataset

    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )
