"""Documents packed into rows of tokens, and the weight of each token in the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids that the packing has to know."""

    pad: int
    assistant: int
    users: frozenset[int]
    """Tokens that open a turn which is not the assistant's."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one length: ``ids`` and ``weights`` are [rows, length]."""

    ids: torch.Tensor
    weights: torch.Tensor
    """Weight of predicting the token at this place; 0 for padding."""


PROMPT_WEIGHT = 0.15
"""Prompts are half random names: there is less to learn from them than from answers."""


def token_weights(ids: Sequence[int], marks: Marks) -> list[float]:
    """Weight 1 for answers (with their end token) and for prose, PROMPT_WEIGHT for the rest."""
    answering = not (ids and ids[0] in marks.users)
    weights = []
    for token in ids:
        if token == marks.assistant or token in marks.users:
            # The role token itself comes from the template, never from the model.
            answering = token == marks.assistant
            weights.append(0.0)
            continue
        weights.append(1.0 if answering else PROMPT_WEIGHT)
    return weights


def pack(
    documents: Sequence[Sequence[int]], length: int, pad: int, open_rows: int = 16
) -> list[list[int]]:
    """Rows of exactly ``length`` tokens made of whole documents; longer documents are cut.

    First fit over a few open rows: a copying task whose source is in another row teaches nothing.
    """
    rows: list[list[int]] = []
    opened: list[list[int]] = []
    for document in documents:
        piece = list(document[:length])
        row = next((row for row in opened if len(row) + len(piece) <= length), None)
        if row is None:
            if len(opened) == open_rows:
                fullest = max(range(open_rows), key=lambda i: len(opened[i]))
                rows.append(opened.pop(fullest))
            opened.append(row := [])
        row.extend(piece)
    return [row + [pad] * (length - len(row)) for row in (*rows, *opened)]


def batches(
    documents: Sequence[Sequence[int]],
    marks: Marks,
    *,
    tokens: int,
    short: int,
    long: int,
    long_share: float,
    seed: int,
) -> list[Batch]:
    """Batches of ``tokens`` tokens: most of ``short`` rows, a share of ``long`` ones, shuffled."""
    cut = round(len(documents) * (1 - long_share))
    made = []
    for part, length in ((documents[:cut], short), (documents[cut:], long)):
        rows = pack(part, length, marks.pad)
        height = max(1, tokens // length)
        for start in range(0, len(rows) - height + 1, height):
            chosen = rows[start : start + height]
            weights = [token_weights(row, marks) for row in chosen]
            ids = torch.tensor(chosen)
            made.append(Batch(ids, torch.tensor(weights) * (ids != marks.pad)))
    Random(seed).shuffle(made)
    return made
