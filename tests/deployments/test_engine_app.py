"""The short way to the engine's busiest endpoints answers as vLLM's own app does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message
from vllm.entrypoints.openai.chat_completion import api_router as chat_routes
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionResponseChoice,
    ChatMessage,
)
from vllm.entrypoints.openai.completion import api_router as completion_routes
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse, UsageInfo
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.exceptions import GenerationError, VLLMValidationError
from vllm.v1.engine.exceptions import EngineDeadError

from deployments.engine import _dead
from deployments.engine_app import LAYERS, EngineApp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ANSWER = ChatCompletionResponse(
    id="chatcmpl-1",
    created=1,
    model="budgie",
    choices=[
        ChatCompletionResponseChoice(
            index=0, message=ChatMessage(role="assistant", content="Ça va ☃"), finish_reason="stop"
        )
    ],
    usage=UsageInfo(prompt_tokens=3, total_tokens=5, completion_tokens=2),
)
FAILURES: dict[str, Exception] = {
    "ours": VLLMValidationError("too long", parameter="messages", value=9),
    "value": ValueError("no such thing"),
    "type": TypeError("not that"),
    "never": NotImplementedError("not here"),
    "dead": EngineDeadError(),
    "fault": RuntimeError("broken"),
    "no text": GenerationError("Internal server error"),
}


class Chat:
    """As much of vLLM's handler as the app calls: it answers what the user asked for."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def create_chat_completion(self, request: ChatCompletionRequest, raw: Any) -> Any:
        assert raw.app.state.openai_serving_chat is self
        wish: Any = request.messages[0]
        if (failure := FAILURES.get(wish["content"])) is not None and not request.stream:
            raise failure
        if wish["content"] == "error":
            info = ErrorInfo(message="no model 'x'", type="NotFoundError", code=404, param="model")
            return ErrorResponse(error=info)
        return self._events(wish["content"]) if request.stream else ANSWER

    async def _events(self, wish: str) -> AsyncIterator[str]:
        try:
            for number in range(3):
                yield f'data: {{"number": {number}, "é": "☃"}}\n\n'
            if wish == "for ever":
                await asyncio.Event().wait()
            if (failure := FAILURES.get(wish)) is not None:
                yield f"data: {create_error_response(failure).model_dump_json()}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.closed.set()


def vllms_app(chat: Chat | None, **options: Any) -> FastAPI:
    app = FastAPI()
    chat_routes.attach_router(app)
    completion_routes.attach_router(app)
    init_exception_handler(app)
    app.add_exception_handler(EngineDeadError, _dead)
    app.state.args = SimpleNamespace(log_error_stack=False, sse_keep_alive_interval=0, **options)
    app.state.openai_serving_chat = chat
    app.state.openai_serving_completion = None
    app.state.server = None
    return app


async def post(app: ASGIApp, body: bytes, path: str, method: str) -> tuple[Any, ...]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        headers = {"content-type": "application/json"}
        answer = await http.request(method, path, content=body, headers=headers)
    kind = answer.headers["content-type"]
    return answer.status_code, kind, answer.json() if kind.endswith("json") else answer.text


def asking(content: object, **fields: object) -> bytes:
    return orjson.dumps({"messages": [{"role": "user", "content": content}], **fields})


BOUND = {"structured_outputs": {"grammar": "root ::= root"}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_constraint_that_no_text_satisfies_is_the_callers_mistake(stream: bool) -> None:
    """VLLM calls it an internal error, for which the router would try every replica in turn."""
    body = asking("no text", stream=stream, **BOUND)
    answer = await post(EngineApp(vllms_app(Chat())), body, "/v1/chat/completions", "POST")
    told = answer[2]
    if stream:
        *_, told, done = answer[2].strip().split("\n\n")
        assert (answer[0], done) == (200, "data: [DONE]")
        told = orjson.loads(told.removeprefix("data: "))
    else:
        assert answer[0] == 400
    assert (told["error"]["code"], told["error"]["type"]) == (400, "BadRequestError")
    assert told["error"]["message"].startswith("No text satisfies ")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(asking("hello"), id="plain"),
        pytest.param(asking("hello", stream=True), id="stream"),
        pytest.param(asking("error"), id="refused by the handler"),
        pytest.param(asking("error", stream=True), id="stream refused by the handler"),
        *(pytest.param(asking(name), id=name) for name in FAILURES),
        pytest.param(asking("no text", stream=True), id="stream that nothing binds"),
        pytest.param(asking("fault", stream=True, **BOUND), id="stream that broke"),
        pytest.param(asking("fault", **BOUND), id="bound and broken"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[1]", id="no object"),
        pytest.param(asking("hello", temperature="hot"), id="wrong type"),
        pytest.param(asking("hello", top_logprobs=3), id="refused by a validator"),
        pytest.param(asking("hello", unknown=1), id="more than vLLM knows"),
    ],
)
async def test_it_answers_as_vllms_app_does(body: bytes) -> None:
    app = vllms_app(Chat())
    path, method = "/v1/chat/completions", "POST"
    theirs = await post(app, body, path, method)
    assert await post(EngineApp(app), body, path, method) == theirs


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/chat/completions", "GET"),
        ("/v1/completions", "POST"),
        ("/v1/chat/completions/batch", "POST"),
        ("/nowhere", "POST"),
    ],
)
async def test_what_it_does_not_know_goes_to_vllms_app(path: str, method: str) -> None:
    app = vllms_app(None)
    body = orjson.dumps({"prompt": "a", "messages": []})
    theirs = await post(app, body, path, method)
    assert await post(EngineApp(app), body, path, method) == theirs
    assert theirs[0] >= 400


@pytest.mark.parametrize("option", LAYERS)
async def test_with_a_layer_of_vllm_switched_on_nothing_is_left_out(option: str) -> None:
    app = vllms_app(Chat(), **{option: True})
    seen = []

    @app.middleware("http")
    async def layer(request: Any, call: Any) -> Any:
        seen.append(request.url.path)
        return await call(request)

    answer = await post(EngineApp(app), asking("hello"), "/v1/chat/completions", "POST")
    assert (answer[0], seen) == (200, ["/v1/chat/completions"])


async def test_a_caller_who_leaves_stops_the_generation() -> None:
    chat, sent, leaves = Chat(), [], asyncio.Event()
    incoming: list[Message] = [
        {"type": "http.request", "body": asking("for ever", stream=True)[:9], "more_body": True},
        {"type": "http.request", "body": asking("for ever", stream=True)[9:], "more_body": False},
    ]

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 4:  # the start and three events
            leaves.set()

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    async with asyncio.timeout(5):
        await EngineApp(vllms_app(chat))(scope, receive, send)
    assert chat.closed.is_set()
    assert len(sent) == 4


async def test_who_leaves_before_the_body_is_whole_asks_nothing() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await EngineApp(vllms_app(Chat()))(scope, receive, send)
    assert sent == []


async def test_a_shutdown_is_not_taken_for_a_caller_who_left() -> None:
    async def receive() -> Message:
        if not started.is_set():
            started.set()
            return {"type": "http.request", "body": asking("for ever", stream=True)}
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def send(message: Message) -> None:
        pass

    started, chat = asyncio.Event(), Chat()
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    serving = asyncio.create_task(EngineApp(vllms_app(chat))(scope, receive, send))
    await started.wait()
    await asyncio.sleep(0.05)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert chat.closed.is_set()
