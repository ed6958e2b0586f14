"""The stream of `/v1/responses` as the engine's app writes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from vllm.exceptions import GenerationError
from vllm.v1.engine.exceptions import EngineDeadError

SILENT = frozenset({"response.created", "response.in_progress"})
"""Events that come before anything is generated."""

Create = Callable[[Any, Request], Awaitable[AsyncGenerator[BaseModel, None] | BaseModel]]


def written(create: Create) -> Callable[[Any, Request], Awaitable[Any]]:
    """VLLM's handler `create`, with its events as text."""

    async def generate(asked: Any, raw: Request) -> AsyncGenerator[str, None] | BaseModel:
        answer = await create(asked, raw)
        return answer if isinstance(answer, BaseModel) else events(answer)

    return generate


async def events(made: AsyncGenerator[Any, None]) -> AsyncGenerator[str, None]:
    """The silent events wait for the first one that says something: what fails before it is no
    stream yet, and another replica can answer. What fails later is told as an event."""
    held, begun = "", False
    try:
        async with aclosing(made):
            async for event in made:
                held += f"event: {event.type}\ndata: {event.model_dump_json(by_alias=True)}\n\n"
                if event.type not in SILENT:
                    begun = True
                    yield held
                    held = ""
    except Exception as error:
        # VLLM 0.32 fails to write a generation's error as an event, and raises about that instead:
        # to its handlers that would be a fault of the request.
        failure = GenerationError() if isinstance(error, ValidationError) else error
        if not begun:
            raise failure from None
        yield _told(failure)


def _told(error: Exception) -> str:
    """As vLLM tells it in a stream of chat chunks."""
    status = 503 if isinstance(error, EngineDeadError) else getattr(error, "status_code", 500)
    kind = type(error).__name__
    told = {"message": str(error), "type": kind, "param": None, "code": int(status)}
    return f"event: error\ndata: {orjson.dumps({'type': 'error', 'error': told}).decode()}\n\n"
