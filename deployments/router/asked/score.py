"""`/v1/score`, vLLM's endpoint: how well texts answer texts, in the order given."""

from __future__ import annotations

import time
from typing import Annotated, Any, Self

from pydantic import PlainValidator, model_validator

from cluster.identifiers import new_id
from deployments.router.asked.pairs import PairsRequest
from deployments.router.asked.texts import all_of, read
from deployments.scoring import Scored

Texts = str | list[str]
NAMES = (
    ("text_1", "text_2"),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
)
"""What vLLM's versions call the two sides."""


def _texts(value: object) -> object:
    if isinstance(value, str) or all_of(value, str):
        return value
    raise ValueError("it must be a string or a list of strings")


Side = Annotated[Texts, PlainValidator(_texts, json_schema_input_type=Texts)]


class ScoreRequest(PairsRequest):
    """One pair of `text_1` and `text_2`, `queries` and `documents`, `queries` and `items`, or
    `data_1` and `data_2`: one text with one, one with many, or as many with as many."""

    text_1: Side = ""
    text_2: Side = ""
    queries: Side = ""
    documents: Side = ""
    items: Side = ""
    data_1: Side = ""
    data_2: Side = ""

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        if self.fields not in NAMES:
            ways = ", ".join(f"{first} and {second}" for first, second in NAMES)
            raise ValueError(f"give one pair of {ways}")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        sides = {side for names in NAMES for side in names}
        return tuple(
            side for side in type(self).model_fields if side in self.model_fields_set & sides
        )

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        first, second = (getattr(self, field) for field in self.fields)
        return _many(first), _many(second)

    def render(self, scored: Scored, name: str) -> dict[str, Any]:
        usage = {
            "prompt_tokens": scored.tokens,
            "total_tokens": scored.tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        }
        return {
            "id": new_id("score-"),
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": [
                {"index": index, "object": "score", "score": score}
                for index, score in enumerate(scored.scores)
            ],
            "usage": usage,
        }


def _many(side: Texts) -> list[str]:
    return [side] if isinstance(side, str) else side


def parse(body: dict[str, Any]) -> ScoreRequest:
    """Raises InvalidRequest naming the field."""
    request = read(ScoreRequest, body)
    request.check()
    return request
