"""`/v1/responses` through the pipeline, to an engine that answers as vLLM does, and its routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from cluster.errors import Unavailable
from cluster.stored import saver
from cluster.stored.responses import Responses
from cluster.stored.saver import Saver
from cluster.tenancy.principal import Limits, Scope
from deployments.router.dialects.openai import response_record
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.exchange import Exchange
from deployments.router.steps.admit import Admit
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.stored import client
from tests.deployments.router.fake_engine import Behaviour
from tests.deployments.router.steps.test_admit import poster

PATH = "/v1/responses"
TRANSCRIPTS = Path(__file__).parents[2] / "transcripts"
ASK: dict[str, Any] = {"model": "budgie", "input": "hi"}
USAGE = {
    "input_tokens": 7, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 9,
}  # fmt: skip
MESSAGE = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "ab", "annotations": [], "logprobs": None}],
}  # fmt: skip
BEGUN: dict[str, Any] = {
    "id": "resp_engine", "object": "response", "created_at": 1, "model": "budgie", "output": [],
    "instructions": None, "metadata": {}, "parallel_tool_calls": True, "status": "in_progress",
    "tool_choice": "none", "tools": [], "previous_response_id": None, "usage": None,
}  # fmt: skip
INNER = {"kv_transfer_params": None, "input_messages": None}
DONE = {**BEGUN, "status": "completed", "output": [MESSAGE], "usage": USAGE}


def event(name: str, number: int, **data: Any) -> bytes:
    told = {"type": name, "sequence_number": number, **data}
    return f"event: {name}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()


BEGIN = event("response.created", 0, response=BEGUN) + event(
    "response.in_progress", 1, response=BEGUN
)
WORDS = [
    event("response.output_text.delta", n, item_id="msg_1", delta=word)
    for n, word in enumerate(("a", "b"), 2)
]
WHOLE = (BEGIN, *WORDS, event("response.completed", 4, response=DONE))


@pytest.fixture(autouse=True)
def _known_id(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100))
    monkeypatch.setattr(response_record, "new_id", lambda prefix: f"{prefix}{next(numbers)}")


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.partition(b"\ndata: ")[2]) for part in body.split(b"\n\n") if part]


async def answers(rig: Rig) -> None:
    body = json.dumps({**DONE, **INNER}).encode()
    (await rig.add_engine()).behaviour = Behaviour(script=(body,))


async def test_an_answer_is_the_callers_and_can_be_read_again(rig: Rig) -> None:
    await answers(rig)
    answered = await rig.post({**ASK, "metadata": {"a": "b"}, "user": "ann"}, PATH)
    assert answered.status == 200
    ours = {"id": "resp_0", "store": True, "error": None}
    assert answered.json == {**DONE, **ours}
    (asked,) = rig.engines[0].requests
    assert asked["store"] is False, "the engine's own store is not used"
    assert (asked["input"], asked["metadata"]) == ("hi", {"a": "b"})
    assert len(asked["cache_salt"]) == 64, "tenants are apart in the prefix cache"
    (used,) = rig.meter.events
    assert (used.endpoint, used.model, used.end_user) == (PATH, "budgie", "ann")
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (7, 2, 3)
    async with client(rig) as http:
        again = await http.responses.retrieve("resp_0", include=["message.output_text.logprobs"])
        assert (again.output_text, again.to_dict()) == ("ab", answered.json)
        items = await http.responses.input_items.list("resp_0")
        assert [item.to_dict()["content"] for item in items.data] == [  # type: ignore[union-attr]
            [{"type": "input_text", "text": "hi"}]
        ]
        with pytest.raises(openai.BadRequestError, match="does not run in the background"):
            await http.responses.cancel("resp_0")
        with pytest.raises(openai.BadRequestError, match="streamed again"):
            await http.responses.retrieve("resp_0", stream=True)
        await http.responses.delete("resp_0")
        for gone in (http.responses.retrieve, http.responses.delete, http.responses.cancel):
            with pytest.raises(openai.NotFoundError, match="resp_0"):
                await gone("resp_0")


async def test_a_continuation_brings_all_that_went_before(rig: Rig) -> None:
    await answers(rig)
    await rig.post({**ASK, "instructions": "Be short."}, PATH)
    await rig.post({**ASK, "input": [{"role": "user", "content": "more"}],
                    "previous_response_id": "resp_0"}, PATH)  # fmt: skip
    third = await rig.post({**ASK, "input": "on", "previous_response_id": "resp_1"}, PATH)
    assert (third.json["id"], third.json["previous_response_id"]) == ("resp_2", "resp_1")
    asked = rig.engines[0].requests[-1]
    assert "previous_response_id" not in asked
    assert "instructions" not in asked, "those of one response are not the next one's"
    said = [(item["role"], item["content"]) for item in asked["input"]]
    part = {"type": "output_text", "text": "ab", "annotations": []}
    assert said == [
        ("user", "hi"), ("assistant", [part]), ("user", "more"), ("assistant", [part]),
        ("user", "on"),
    ]  # fmt: skip
    assert rig.meter.events[-1].status == 200


async def test_what_is_continued_is_reserved_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[int] = []
    admit = Admit.__call__

    async def admitting(self: Admit, exchange: Exchange) -> None:
        reserved.append(exchange.reserve)
        await admit(self, exchange)

    monkeypatch.setattr(Admit, "__call__", admitting)
    await answers(rig)
    short = {**ASK, "max_output_tokens": 10}
    await rig.post({**short, "input": "long " * 2000}, PATH)
    await rig.post({**short, "previous_response_id": "resp_0"}, PATH)
    await rig.post(short, PATH)
    assert reserved[0] == pytest.approx(10_000 / BYTES_PER_TOKEN, rel=0.05)
    assert reserved[1] > reserved[0]
    assert reserved[2] < 50


async def test_a_reservation_is_never_below_what_is_continued(rig: Rig) -> None:
    await answers(rig)
    text = "\u4f60" * 3000
    await rig.post({**ASK, "input": text}, PATH)
    post = await poster(rig, limits=Limits(tokens_per_minute=len(text.encode())))
    answered = await post({**ASK, "previous_response_id": "resp_0"}, PATH)
    assert answered.status == 429, "each of its bytes may be a token"


async def test_a_strangers_response_is_not_there(rig: Rig) -> None:
    await answers(rig)
    for previous in ("resp_nobody", "resp_0"):
        answered = await rig.post({**ASK, "previous_response_id": previous}, PATH)
        error = answered.json["error"]
        assert (answered.status, error["code"], error["param"]) == (
            404, "previous_response_not_found", "previous_response_id",
        )  # fmt: skip
    assert rig.engines[0].requests == [], "nothing is generated for it"
    await rig.post(ASK, PATH)
    async with client(rig, organization_id="other") as stranger:
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.retrieve("resp_0")


async def test_without_store_nothing_is_kept(rig: Rig) -> None:
    await answers(rig)
    answered = await rig.post({**ASK, "store": False}, PATH)
    assert answered.json["store"] is False
    async with client(rig) as http:
        with pytest.raises(openai.NotFoundError):
            await http.responses.retrieve(answered.json["id"])


async def test_who_may_read_and_who_may_remove(rig: Rig) -> None:
    await answers(rig)
    await rig.post(ASK, PATH)
    async with client(rig, Scope.READ) as reader:
        assert (await reader.responses.retrieve("resp_0")).id == "resp_0"
        with pytest.raises(openai.PermissionDeniedError):
            await reader.responses.delete("resp_0")
    async with client(rig, Scope.TRAIN) as trainer:
        with pytest.raises(openai.PermissionDeniedError):
            await trainer.responses.retrieve("resp_0")


async def test_a_stream_is_stored_before_its_last_event(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE, pace=0.02)
    order: list[bytes] = []
    add, write = Responses.add, Exchange.write

    async def adding(self: Responses, *given: Any) -> None:
        await add(self, *given)
        order.append(b"stored")

    async def writing(self: Exchange, body: bytes, *, more: bool) -> None:
        order.extend(part.partition(b"\n")[0] for part in body.split(b"\n\n") if part)
        await write(self, body, more=more)

    monkeypatch.setattr(Responses, "add", adding)
    monkeypatch.setattr(Exchange, "write", writing)
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert order[-3:] == [
        b"event: response.output_text.delta", b"stored", b"event: response.completed",
    ]  # fmt: skip
    async with client(rig) as http:
        stored = await http.responses.retrieve("resp_0")
    assert stored.to_dict() == events(answered.body)[-1]["response"]
    (used,) = rig.meter.events
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (7, 2, 3)


BROKEN = event("error", 0, error={"message": "it died", "type": "x", "code": 500, "param": None})


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("response", Behaviour(script=WHOLE)),
        ("response-lost", Behaviour(script=WHOLE, pace=0.02, die_after=2)),
        ("response-failed", Behaviour(script=(BEGIN, WORDS[0], BROKEN), pace=0.02)),
    ],
)
async def test_streams_byte_for_byte(rig: Rig, name: str, behaviour: Behaviour) -> None:
    (await rig.add_engine()).behaviour = behaviour
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answered.body == (TRANSCRIPTS / f"{name}.sse").read_bytes()
    numbers = [told["sequence_number"] for told in events(answered.body)]
    assert numbers == list(range(len(numbers)))


async def test_events_cut_anywhere_are_whole_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_record, "new_id", lambda prefix: f"{prefix}0")
    engine, sent = await rig.add_engine(), b"".join(WHOLE)
    bodies = set()
    for at in range(1, len(sent), 97):
        engine.behaviour = Behaviour(script=(sent[:at], sent[at:]), pace=0.001)
        bodies.add((await rig.post({**ASK, "stream": True, "store": False}, PATH)).body)
        assert rig.meter.events[-1].completion_tokens == 2
    (body,) = bodies
    assert [told["sequence_number"] for told in events(body)] == [0, 1, 2, 3, 4]


async def test_an_engine_that_breaks_off_leaves_nothing_behind(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=(BEGIN, WORDS[0], BROKEN), pace=0.02)
    await rig.post({**ASK, "stream": True}, PATH)
    (used,) = rig.meter.events
    assert (used.error_code, used.prompt_tokens, used.completion_tokens) == ("engine_error", 0, 1)
    async with client(rig) as http:
        with pytest.raises(openai.NotFoundError):
            await http.responses.retrieve("resp_0")


async def test_a_stream_that_its_caller_leaves_is_charged_for_what_came(rig: Rig) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(script=(BEGIN, *WORDS * 500), pace=0.02)
    await rig.post({**ASK, "stream": True}, PATH, leave_after=3)
    (used,) = rig.meter.events
    assert used.status == 499
    assert 1 <= used.completion_tokens <= 10


@pytest.mark.parametrize("name", ["completed", "incomplete"])
async def test_what_is_cut_short_is_called_incomplete(rig: Rig, name: str) -> None:
    cut = {**DONE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    script = (BEGIN, *WORDS, event(f"response.{name}", 4, response=cut))
    (await rig.add_engine()).behaviour = Behaviour(script=script)
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert b"event: response.incomplete\n" in answered.body
    assert events(answered.body)[-1]["type"] == "response.incomplete"
    assert rig.meter.events[0].completion_tokens == 2
    async with client(rig) as http:
        assert (await http.responses.retrieve("resp_0")).status == "incomplete"


async def test_a_provider_that_fails_by_its_own_event_leaves_nothing_behind(rig: Rig) -> None:
    failed = {**BEGUN, "status": "failed", "error": {"code": "server_error", "message": "no"}}
    script = (BEGIN, WORDS[0], event("response.failed", 3, response=failed))
    (await rig.add_engine()).behaviour = Behaviour(script=script)
    last = events((await rig.post({**ASK, "stream": True}, PATH)).body)[-1]["response"]
    assert (last["id"], last["store"], last["error"]["message"]) == ("resp_0", False, "no")
    assert rig.meter.events[0].error_code == "engine_error"
    async with client(rig) as http:
        with pytest.raises(openai.NotFoundError):
            await http.responses.retrieve("resp_0")


async def test_a_store_that_is_away_is_told_before_anything_is_made(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await answers(rig)

    async def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Saver, "reach", away)
    monkeypatch.setattr(Responses, "recall", away)
    for more in ({}, {"previous_response_id": "resp_0", "store": False}):
        answered = await rig.post({**ASK, **more}, PATH)
        assert (answered.status, answered.headers["retry-after"]) == (503, "2")
    assert rig.engines[0].requests == []
    assert (await rig.post({**ASK, "store": False}, PATH)).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_store_that_goes_away_meanwhile_costs_no_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    script = WHOLE if stream else (json.dumps(DONE).encode(),)
    (await rig.add_engine()).behaviour = Behaviour(script=script)

    async def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Responses, "add", away)
    monkeypatch.setattr(saver, "PAUSE", 0.001)
    for step in rig.pipelines[PATH]._steps:
        if hasattr(step, "_saver"):
            step._saver._patience = 0.01
    answered = await rig.post({**ASK, "stream": stream}, PATH)
    response = events(answered.body)[-1]["response"] if stream else answered.json
    assert (response["status"], response["output"]) == ("completed", [MESSAGE])
    assert response["store"] is False, "its caller is not told that it can be read again"


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"background": True}, "background", "background"),
    ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "prompts"),
    ({"context_management": [{"type": "compaction"}]}, "context_management", "compacted"),
    ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type", "web_search"),
    ({"tools": [{"type": "mcp", "server_url": "x"}]}, "tools[0].type", "function"),
    ({"input": None}, "input", "missing"),
    ({"input": ["hi"]}, "input[0]", "object"),
    ({"input": []}, "input", "empty"),
    ({"input": [{"role": "assistant", "content": []}]}, "input", "empty"),
    ({"store": "yes"}, "store", "true or false"),
    ({"stream": 1}, "stream", "true or false"),
    ({"metadata": {"a": 1}}, "metadata.a", "string"),
    ({"max_output_tokens": 0}, "max_output_tokens", "at least 1"),
    ({"max_output_tokens": "8000"}, "max_output_tokens", "must be a whole number"),
    ({"max_output_tokens": 8000.0}, "max_output_tokens", "must be a whole number"),
    ({"max_output_tokens": True}, "max_output_tokens", "must be a whole number"),
    ({"previous_response_id": 5}, "previous_response_id", "string"),
    ({"cache_salt": ""}, "cache_salt", "1 to"),
    ({"previous_input_messages": []}, "previous_input_messages", "Unrecognized"),
    ({"model": "nobody"}, "model", "nobody"),
]


async def test_what_is_refused_is_named(rig: Rig) -> None:
    await answers(rig)
    for more, param, words in REFUSED:
        answered = await rig.post({**ASK, **more}, PATH)
        error = answered.json["error"]
        assert answered.status in (400, 404)
        assert (error["param"], words in error["message"]) == (param, True), error
    assert rig.engines[0].requests == []


async def test_a_virtual_models_prompt_is_the_models_and_not_the_callers(rig: Rig) -> None:
    await answers(rig)
    platform, tenant = rig.platform, rig.tenant
    await VirtualModels(platform.database, platform.redis).create(
        Project(tenant.organization_id, tenant.project_id),
        "helper",
        Wish((Target("budgie", 1.0),), system_prompt="Secret."),
    )
    await rig.catalog.refresh()
    first = await rig.post({**ASK, "model": "helper", "instructions": "Be short."}, PATH)
    second = await rig.post({**ASK, "model": "helper", "previous_response_id": "resp_0"}, PATH)
    prompts = [asked["instructions"] for asked in rig.engines[0].requests]
    assert prompts == ["Secret.\n\nBe short.", "Secret."]
    assert [one.json["instructions"] for one in (first, second)] == ["Be short.", None]


async def test_what_means_nothing_is_taken(rig: Rig) -> None:
    await answers(rig)
    nothing = {
        "background": False, "conversation": None, "prompt": None, "previous_response_id": None,
        "metadata": None, "store": None, "tools": [TOOL],
    }  # fmt: skip
    assert (await rig.post({**ASK, **nothing}, PATH)).status == 200
    assert rig.engines[0].requests[0]["tools"] == [TOOL]
