"""The engine's stream of a response: what can still be another's, and what is told as an event."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.responses import ResponseTextDeltaEvent
from vllm.entrypoints.openai.responses.protocol import (
    ResponsesRequest,
    ResponsesResponse,
    StreamingResponsesResponse,
)
from vllm.entrypoints.openai.responses.utils import construct_input_messages
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.exceptions import GenerationError
from vllm.v1.engine.exceptions import EngineDeadError

from cluster.stored.items import carried, heard, items
from deployments.engine import ENDPOINTS, _dead
from deployments.engine_app import EngineApp
from deployments.engine_fields import known_fields
from deployments.router.dialects.openai.parse_responses import MISSING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FORMAT = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
RESPONSE = ResponsesResponse.model_validate(
    {
        "id": "resp_1", "created_at": 1, "model": "budgie", "output": [], "temperature": 1,
        "parallel_tool_calls": True, "tool_choice": "none", "tools": [], "top_p": 1,
        "background": False, "max_output_tokens": 5, "service_tier": "auto",
        "status": "completed", "truncation": "disabled", "text": {"format": FORMAT},
    }
)  # fmt: skip
SILENT = [SimpleNamespace(type=f"response.{name}") for name in ("created", "in_progress")]
for silent in SILENT:
    silent.model_dump_json = lambda by_alias: "{}"
WORD = ResponseTextDeltaEvent(
    type="response.output_text.delta", content_index=0, delta="☃", item_id="i", logprobs=[],
    output_index=0, sequence_number=2,
)  # fmt: skip
DEAD, FAILED = EngineDeadError(), GenerationError()


def like_vllm(error: Exception) -> None:
    """As its handler fails over writing an error as an event."""
    from pydantic import TypeAdapter

    try:
        raise error
    except GenerationError:
        TypeAdapter(StreamingResponsesResponse).validate_json('{"error": {"message": "x"}}')


class Handler:
    """As much of vLLM's handler as the app calls."""

    def __init__(self, *events: Any) -> None:
        self.events = events

    async def create_responses(self, request: ResponsesRequest, raw: Any) -> Any:
        return self._made() if request.stream else RESPONSE

    async def _made(self) -> AsyncGenerator[Any, None]:
        for event in self.events:
            if isinstance(event, Exception):
                like_vllm(event)
            yield event


async def ask(handler: Handler, **more: Any) -> httpx.Response:
    app = FastAPI()
    init_exception_handler(app)
    app.add_exception_handler(EngineDeadError, _dead)
    app.state.args = SimpleNamespace(log_error_stack=False)
    app.state.server = None
    app.state.openai_serving_responses = handler
    transport = httpx.ASGITransport(EngineApp(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        return await http.post("/v1/responses", json={"model": "b", "input": "hi", **more})


async def test_an_answer_has_the_wires_names() -> None:
    answer = await ask(Handler())
    assert answer.status_code == 200
    assert answer.json()["text"]["format"]["schema"] == {"type": "object"}


async def test_a_stream_is_written_as_vllm_writes_it() -> None:
    answer = await ask(Handler(*SILENT, WORD), stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == (
        "event: response.created\ndata: {}\n\nevent: response.in_progress\ndata: {}\n\n"
        f"event: response.output_text.delta\ndata: {WORD.model_dump_json(by_alias=True)}\n\n"
    )


@pytest.mark.parametrize(("error", "status"), [(FAILED, 500), (DEAD, 503)])
async def test_what_fails_before_the_first_word_is_no_stream(error: Exception, status: int) -> None:
    answer = await ask(Handler(*SILENT, error), stream=True)
    assert answer.status_code == status
    assert str(error) in answer.json()["error"]["message"]


@pytest.mark.parametrize(("error", "status"), [(FAILED, 500), (DEAD, 503)])
async def test_what_fails_later_is_told_as_an_event(error: Exception, status: int) -> None:
    answer = await ask(Handler(*SILENT, WORD, error), stream=True)
    name, _, data = answer.text.strip().split("\n\n")[-1].partition("\ndata: ")
    told = json.loads(data)["error"]
    assert (answer.status_code, name) == (200, "event: error")
    assert (told["message"], told["code"]) == (str(error), status)


def test_what_is_refused_here_is_what_openai_has() -> None:
    known = known_fields(*ENDPOINTS["/v1/responses"])
    assert known >= MISSING.keys()
    assert {"cache_salt", "store", "text.format.schema", "tools.parameters", "input"} <= known
    assert not any(path.startswith("input.") for path in known)
    assert "previous_response_id" in known


def test_a_conversation_goes_on_as_vllm_would_have_it() -> None:
    """What is stored of one response is what vLLM takes as input of the next."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    text = {"type": "output_text", "text": "well", "annotations": [], "logprobs": []}
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "status": None,
         "encrypted_content": None, "content": [{"type": "reasoning_text", "text": "why"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "phase": None, "content": [text]},
        {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed",
         "content": []},
        {**call, "id": "fc_1", "status": "completed", "namespace": None},
    ]  # fmt: skip
    own = items(
        [{"type": "function_call_output", "call_id": "c", "output": "4"},
         {"role": "user", "content": [{"type": "input_text", "text": "so?"}]}]
    )  # fmt: skip
    whole = heard([*items("hi"), *carried(output), *own])
    request = ResponsesRequest.model_validate({"model": "b", "input": whole})
    said: list[Any] = construct_input_messages(request_input=request.input)
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "user"]
    assert (said[0]["content"], said[1]["content"], said[1]["reasoning"]) == ("hi", "well", "why")
    assert said[1]["tool_calls"][0]["function"]["name"] == "f"
    assert said[3]["content"] == [{"type": "input_text", "text": "so?"}]
