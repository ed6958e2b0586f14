"""How well documents answer queries: what embedders and rerankers say of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

MAX_TOKENS = 512_000
"""Of all that is read for one request: a thousand documents in a reranker's usual context."""


class Over(NamedTuple):
    """What is longer than the model's context: a text, or a document together with its query."""

    part: Literal["query", "document", "pair"]
    at: int
    tokens: int


class Scored(NamedTuple):
    """A score for each document; none where something is too long."""

    scores: list[float]
    tokens: int
    """Of all that was read, with the model's own marks."""
    over: Over | None = None
