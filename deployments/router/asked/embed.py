"""`/v1/embeddings`: texts into vectors."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from cluster.catalog.route import Route
from cluster.errors import ContextTooLong, InvalidRequest
from deployments.embedding import DEPLOYMENT, Embedded
from deployments.router.asked.ask import Answered, Call
from deployments.router.asked.texts import (
    about,
    all_of,
    check_long,
    check_many,
    read,
)
from deployments.router.exchange import NOTHING, Beside

MAX_INPUTS = 2048
"""As many as OpenAI takes in one request."""
MAX_CHARACTERS = 1_000_000
MAX_TOKENS = 300_000
"""As many as OpenAI takes in one request, where the texts come as tokens."""

Text = str | list[int]
Input = Text | list[str] | list[list[int]]


def _input(value: object) -> object:
    if isinstance(value, str) or all_of(value, str) or _tokens(value):
        return value
    if isinstance(value, list) and all(_tokens(member) for member in value):
        return value
    raise ValueError("it must be a string, a list of strings, a list of tokens or a list of those")


def _tokens(value: object) -> bool:
    return isinstance(value, list) and all_of(value, int) and min(value, default=0) >= 0


class EmbeddingRequest(BaseModel):
    """OpenAI's body of `/v1/embeddings`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    # One validator: pydantic's own would name the union's branches as fields.
    input: Annotated[Input, PlainValidator(_input, json_schema_input_type=Input)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None

    @cached_property
    def texts(self) -> list[Text]:
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [[token for token in self.input if isinstance(token, int)]]
        return [text for text in self.input if not isinstance(text, int)]

    def estimate(self, route: Route) -> int:
        return sum(about(text) if isinstance(text, str) else len(text) for text in self.texts)

    def beside(self, route: Route) -> Beside:
        return NOTHING

    def call(self, route: Route) -> Call:
        if self.dimensions is not None and not route.base.has_size(self.dimensions):
            raise InvalidRequest(
                f"dimensions is {self.dimensions}; {_sizes(route)}.", param="dimensions"
            )
        return Call(DEPLOYMENT, "embed", (self.texts, self.dimensions))

    def answer(self, told: Embedded, route: Route) -> Answered:
        for index, (text, count) in enumerate(zip(self.texts, told.tokens, strict=True)):
            if count > route.base.context_length:
                raise ContextTooLong(
                    f"input[{index}] has {count} tokens; {route.name!r} takes up to "
                    f"{route.base.context_length}.",
                    param="input",
                )
            highest = max(text, default=0) if isinstance(text, list) else 0
            if highest >= told.vocabulary:
                raise InvalidRequest(
                    f"input[{index}] has the token {highest}; {route.name!r} has 0 to "
                    f"{told.vocabulary - 1}. Tokens have to come from its own tokenizer.",
                    param="input",
                )
        tokens = sum(told.tokens)
        data = [
            {"object": "embedding", "index": index, "embedding": self._encode(vector)}
            for index, vector in enumerate(told.vectors)
        ]
        answer = {
            "object": "list",
            "data": data,
            "model": route.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return Answered(tokens, answer)

    def _encode(self, vector: bytes) -> object:
        if self.encoding_format == "base64":
            return base64.b64encode(vector).decode()
        return np.frombuffer(vector, dtype="<f4")


def _sizes(route: Route) -> str:
    base, has = route.base, f"{route.name!r} has {route.base.hidden_size}"
    if base.min_dimensions:
        return f"{has} and can be shortened to {base.min_dimensions} or more"
    if base.dimensions:
        return f"{has} and can be shortened to {', '.join(map(str, sorted(base.dimensions)))}"
    return f"{has} and can't be shortened"


def parse(body: dict[str, Any]) -> EmbeddingRequest:
    """Raises InvalidRequest naming the field."""
    request = read(EmbeddingRequest, body)
    texts = request.texts
    check_many(texts, "input", MAX_INPUTS)
    for kind, most, unit in ((str, MAX_CHARACTERS, "characters"), (list, MAX_TOKENS, "tokens")):
        check_long(sum(len(text) for text in texts if isinstance(text, kind)), "input", most, unit)
    return request
