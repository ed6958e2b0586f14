"""Steps 3, 6 and 7 for embeddings: parse, ask the embedder through Serve, answer."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from cluster.errors import ContextTooLong, InvalidRequest, Unavailable
from deployments.embedding import DEPLOYMENT
from deployments.router.dialects.openai.errors import from_validation
from deployments.router.dialects.openai.parse import document, model
from deployments.router.exchange import Exchange, Usage
from deployments.router.presence import watch
from deployments.router.stream import JSON

MAX_INPUTS = 2048
"""As many as OpenAI takes in one request."""
MAX_CHARACTERS = 1_000_000

Ask = Callable[[str, list[str]], Awaitable[tuple[list[bytes], list[int]]]]


class EmbeddingRequest(BaseModel):
    """OpenAI's body of `/v1/embeddings`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None


class ParseEmbedding:
    async def __call__(self, exchange: Exchange) -> None:
        exchange.document = body = document(exchange.body)
        exchange.model = model(body)
        texts = parse(body)[1]
        exchange.reserve = sum(map(len, texts)) // 3


def parse(body: dict[str, Any]) -> tuple[EmbeddingRequest, list[str]]:
    """The request and its texts. Raises InvalidRequest naming the field."""
    try:
        request = EmbeddingRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts or len(texts) > MAX_INPUTS:
        raise InvalidRequest(
            f"input has {len(texts)} texts; it must have 1 to {MAX_INPUTS}.", param="input"
        )
    for index, text in enumerate(texts):
        if not text:
            raise InvalidRequest(f"input[{index}] is empty.", param="input")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise InvalidRequest(
            f"input has more than {MAX_CHARACTERS} characters in all.", param="input"
        )
    return request, texts


class Embed:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def __call__(self, exchange: Exchange) -> None:
        route = exchange.route
        assert route is not None, "resolve comes before embed"
        request, texts = parse(exchange.document)
        size = route.base.hidden_size
        if request.dimensions not in (None, size):
            raise InvalidRequest(
                f"dimensions is {request.dimensions}; {route.name!r} has {size} and can't be "
                "shortened.",
                param="dimensions",
            )
        watch(exchange)
        vectors, counts = await self._ask(route.base.application, texts)
        for index, count in enumerate(counts):
            if count > route.base.context_length:
                raise ContextTooLong(
                    f"input[{index}] has {count} tokens; {route.name!r} takes up to "
                    f"{route.base.context_length}.",
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


async def ask_embedder(application: str, texts: list[str]) -> tuple[list[bytes], list[int]]:
    """Ask the embedder of an application. Raises Unavailable where none can take it."""
    try:
        handle = serve.get_deployment_handle(DEPLOYMENT, application)
        answer: tuple[list[bytes], list[int]] = await handle.embed.remote(texts)
    except BackPressureError as error:
        raise Unavailable("All embedders are full.", retry_after=1.0) from error
    except (RayActorError, RayServeException) as error:
        raise Unavailable("The embedding model is not ready.", retry_after=5.0) from error
    return answer
