"""Steps 3, 6 and 7 for embeddings: parse, ask the embedder through Serve, answer."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.catalog.route import Remote, Route
from cluster.errors import ContextTooLong, InvalidRequest, Unavailable
from deployments.embedding import DEPLOYMENT, Embedded
from deployments.router.dialects.openai.errors import from_validation
from deployments.router.exchange import Exchange, Usage
from deployments.router.presence import watch
from deployments.router.stream import JSON

MAX_INPUTS = 2048
"""As many as OpenAI takes in one request."""
MAX_CHARACTERS = 1_000_000
MAX_TOKENS = 300_000
"""As many as OpenAI takes in one request, where the texts come as tokens."""

Text = str | list[int]
Input = Text | list[str] | list[list[int]]
Ask = Callable[[str, list[Text]], Awaitable[Embedded]]


def _input(value: object) -> object:
    if isinstance(value, str) or _all(value, str) or _tokens(value):
        return value
    if isinstance(value, list) and all(_tokens(member) for member in value):
        return value
    raise ValueError("it must be a string, a list of strings, a list of tokens or a list of those")


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(type(member) is kind for member in value)


def _tokens(value: object) -> bool:
    return isinstance(value, list) and _all(value, int) and min(value, default=0) >= 0


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


class ParseEmbedding:
    async def __call__(self, exchange: Exchange) -> None:
        if isinstance(exchange.route, Remote):
            _estimate(exchange)
            return
        exchange.embedding = request = parse(exchange.document)
        exchange.reserve = sum(
            len(text) // 3 if isinstance(text, str) else len(text) for text in request.texts
        )


def _estimate(exchange: Exchange) -> None:
    """For another provider, which says itself what it takes."""
    if not exchange.document.get("input"):
        raise InvalidRequest("input is missing or empty.", param="input")
    exchange.prompt_estimate = exchange.reserve = len(exchange.body) // 3


def parse(body: dict[str, Any]) -> EmbeddingRequest:
    """Raises InvalidRequest naming the field."""
    try:
        request = EmbeddingRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    texts = request.texts
    if not texts or len(texts) > MAX_INPUTS:
        raise InvalidRequest(
            f"input has {len(texts)} texts; it must have 1 to {MAX_INPUTS}.", param="input"
        )
    for index, text in enumerate(texts):
        if not text:
            raise InvalidRequest(f"input[{index}] is empty.", param="input")
    for kind, most, unit in ((str, MAX_CHARACTERS, "characters"), (list, MAX_TOKENS, "tokens")):
        if sum(len(text) for text in texts if isinstance(text, kind)) > most:
            raise InvalidRequest(f"input has more than {most} {unit} in all.", param="input")
    return request


class Embed:
    def __init__(
        self,
        ask: Ask,
        present: Callable[[str], Awaitable[None]],
        elsewhere: Sequence[Callable[[Exchange], Awaitable[None]]] = (),
    ) -> None:
        """`present` waits for a replica of a model: Serve itself would queue without a bound.
        `elsewhere`: the steps by which another provider answers."""
        self._ask = ask
        self._present = present
        self._elsewhere = elsewhere

    async def __call__(self, exchange: Exchange) -> None:
        if isinstance(exchange.route, Remote):
            for step in self._elsewhere:
                await step(exchange)
            return
        request, route = exchange.embedding, exchange.route
        assert request is not None, "parse comes before embed"
        assert isinstance(route, Route), "resolve finds a model that embeds"
        texts = request.texts
        size = route.base.hidden_size
        if request.dimensions not in (None, size):
            raise InvalidRequest(
                f"dimensions is {request.dimensions}; {route.name!r} has {size} and can't be "
                "shortened.",
                param="dimensions",
            )
        watch(exchange)
        await self._present(route.base.name)
        # Until the count comes: the embedder works on for a caller who leaves.
        exchange.usage.prompt = exchange.reserve
        try:
            vectors, counts, vocabulary = await self._ask(route.base.application, texts)
        except Exception:
            exchange.usage = Usage()
            raise
        exchange.usage = Usage()  # what is refused below costs nothing
        for index, count in enumerate(counts):
            if count > route.base.context_length:
                raise ContextTooLong(
                    f"input[{index}] has {count} tokens; {route.name!r} takes up to "
                    f"{route.base.context_length}.",
                    param="input",
                )
            text = texts[index]
            highest = max(text, default=0) if isinstance(text, list) else 0
            if highest >= vocabulary:
                raise InvalidRequest(
                    f"input[{index}] has the token {highest}; {route.name!r} has 0 to "
                    f"{vocabulary - 1}. Tokens have to come from its own tokenizer.",
                    param="input",
                )
        tokens = sum(counts)
        exchange.first_token_at = time.perf_counter()
        exchange.usage = Usage(prompt=tokens)
        data = [
            {"object": "embedding", "index": index, "embedding": _encode(vector, request)}
            for index, vector in enumerate(vectors)
        ]
        answer = {
            "object": "list",
            "data": data,
            "model": route.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        await exchange.start(200, [JSON, (b"content-length", str(len(content)).encode())])
        await exchange.write(content, more=False)


def _encode(vector: bytes, request: EmbeddingRequest) -> object:
    if request.encoding_format == "base64":
        return base64.b64encode(vector).decode()
    return np.frombuffer(vector, dtype="<f4")


async def ask_embedder(application: str, texts: list[Text]) -> Embedded:
    """Ask the embedder of an application. Raises Unavailable where none can take it."""
    try:
        handle = serve.get_deployment_handle(DEPLOYMENT, application)
    except KeyError as error:  # the application is gone, and the catalogue has not yet seen it
        raise Unavailable("The embedding model is not deployed.", retry_after=5.0) from error
    try:
        answer: Embedded = await handle.embed.remote(texts)
    except BackPressureError as error:
        raise Unavailable("All embedders are full.", retry_after=1.0) from error
    except (RayActorError, RayServeException) as error:
        raise Unavailable("The embedding model is not ready.", retry_after=5.0) from error
    return answer
