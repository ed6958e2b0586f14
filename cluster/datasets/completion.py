"""Rows of `prompt` and `completion`."""

from __future__ import annotations

from typing import Any

from cluster.datasets.fields import only, text
from cluster.datasets.problem import Faulty
from cluster.datasets.rows import CompletionRow

KEYS = ("prompt", "completion")


def read_completion(row: dict[str, Any]) -> CompletionRow:
    """Raises Faulty."""
    only(row, KEYS, "")
    for key in KEYS:
        if key not in row:
            raise Faulty(key, "it is missing; a row has a prompt and a completion.")
    prompt, completion = text(row["prompt"], "prompt"), text(row["completion"], "completion")
    if not completion:
        raise Faulty("completion", "it must hold the text to be learned.", value=completion)
    return CompletionRow(prompt, completion)
