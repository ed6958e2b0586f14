"""The engine's ASGI app: vLLM's own, with a short way to the endpoints that take all the load.

vLLM's app leads a request, and each token of its answer, through layers for browsers, dashboards
and dozens of routes. Only routers ask here: they need vLLM's request classes and its handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.exceptions import GenerationError, VLLMValidationError

from deployments.engine_responses import written

LAYERS = (
    "middleware",
    "enable_request_id_headers",
    "enable_server_load_tracking",
    "enable_elastic_ep",
)
"""Options of vLLM's server that work in what the short way leaves out."""
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
CONSTRAINTS = ("response_format", "structured_outputs", "tools")
NO_TEXT = VLLMValidationError("No text satisfies what the request binds its answer to.")
_ERROR = 'data: {"error"'

Generate = Callable[[Any, Request], Awaitable[AsyncGenerator[str, None] | BaseModel]]


@dataclass(frozen=True)
class Endpoint:
    request: type[BaseModel]
    generate: Generate


class EngineApp:
    """Answers as `app` does, which vLLM has built and initialized; what is refused, it refuses."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._endpoints = {} if any(_has(app, option) for option in LAYERS) else _endpoints(app)
        self._fail = ExceptionMiddleware(_raise, app.exception_handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        try:
            asked = endpoint.request.model_validate(orjson.loads(body))
        except Exception:  # vLLM's app meets it again, and says what it is
            await self._app(scope, _again(body, receive), send)
            return
        scope["app"] = self._app
        serving, gone = asyncio.current_task(), False
        assert serving is not None, "uvicorn runs a task for each request"

        async def leave() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            serving.cancel()

        watcher = asyncio.create_task(leave())
        try:
            answer = await endpoint.generate(asked, Request(scope, receive))
            await self._answer(answer, send, constrained=_constrained(asked))
        except asyncio.CancelledError:
            if not gone or serving.uncancel():
                raise  # somebody else cancelled it
        except Exception as error:
            unsatisfiable = type(error) is GenerationError and _constrained(asked)
            scope["failure"] = NO_TEXT if unsatisfiable else error
            await self._fail(scope, receive, send)
        finally:
            watcher.cancel()

    async def _answer(
        self, answer: AsyncGenerator[str, None] | BaseModel, send: Send, *, constrained: bool
    ) -> None:
        if isinstance(answer, BaseModel):
            status = answer.error.code if isinstance(answer, ErrorResponse) else 200
            body = answer.model_dump_json(by_alias=True).encode()
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": status, "headers": [JSON, length]})
            await send({"type": "http.response.body", "body": body})
            return
        # Closed here, not when it is collected: that is what stops a generation nobody waits for.
        async with aclosing(answer) as events:
            # What fails before the first event is an answer with a status of its own.
            first = await anext(events, "")
            await send({"type": "http.response.start", "status": 200, "headers": [EVENTS]})
            await send({"type": "http.response.body", "body": first.encode(), "more_body": True})
            async for event in events:
                if constrained and event.startswith(_ERROR):
                    event = _told(event)
                await send(
                    {"type": "http.response.body", "body": event.encode(), "more_body": True}
                )
        await send({"type": "http.response.body", "body": b""})


def _constrained(asked: BaseModel) -> bool:
    return any(getattr(asked, field, None) for field in CONSTRAINTS)


def _told(event: str) -> str:
    """The event that ends a stream; where a constraint left no token to go on with, it says so.

    That is what vLLM calls an internal error. Told as one, the router would hold this replica for
    broken and ask the next one.
    """
    error = orjson.loads(event.removeprefix("data: "))["error"]
    if (error["type"], error["message"]) != ("InternalServerError", "Internal server error"):
        return event
    return f"data: {create_error_response(NO_TEXT).model_dump_json()}\n\n"


def _has(app: FastAPI, option: str) -> bool:
    return bool(getattr(app.state.args, option, None))


def _endpoints(app: FastAPI) -> dict[str, Endpoint]:
    endpoints = {}
    if (chat := getattr(app.state, "openai_serving_chat", None)) is not None:
        endpoints["/v1/chat/completions"] = Endpoint(
            ChatCompletionRequest, chat.create_chat_completion
        )
    if (completion := getattr(app.state, "openai_serving_completion", None)) is not None:
        endpoints["/v1/completions"] = Endpoint(CompletionRequest, completion.create_completion)
    if (responses := getattr(app.state, "openai_serving_responses", None)) is not None:
        endpoints["/v1/responses"] = Endpoint(ResponsesRequest, written(responses.create_responses))
    return endpoints


async def _read(receive: Receive) -> bytes | None:
    """The body; None where the caller left before it was whole."""
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before the body was read."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


async def _raise(scope: Scope, receive: Receive, send: Send) -> NoReturn:
    raise scope["failure"]
