"""`/v1/messages` through the pipeline, to an engine that answers as vLLM does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.router.dialects.openai.tokens import MAX_BYTES
from tests.deployments.router.conftest import Rig
from tests.deployments.router.fake_engine import Behaviour

PATH, COUNT = "/v1/messages", "/v1/messages/count_tokens"
ASK: dict[str, Any] = {
    "model": "budgie", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
}  # fmt: skip
USAGE = {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 2}


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


START = event("message_start", message={"usage": {**USAGE, "output_tokens": 0}})
WORDS = [event("content_block_delta", delta={"text": word}) for word in ("a", "b")]
END = event("message_delta", usage=USAGE), event("message_stop")
WHOLE = (START, *WORDS, *END)


async def test_an_answer_as_a_whole(rig: Rig) -> None:
    engine = await rig.add_engine()
    answer = json.dumps({"type": "message", "content": [], "usage": USAGE}).encode()
    engine.behaviour = Behaviour(script=(answer,))
    answered = await rig.post({**ASK, "metadata": {"user_id": "ann"}}, PATH)
    assert (answered.status, answered.body) == (200, answer)
    (asked,) = engine.requests
    assert len(asked["cache_salt"]) == 64, "tenants are apart in the prefix cache"
    (used,) = rig.meter.events
    assert (used.endpoint, used.model, used.end_user) == (PATH, "budgie", "ann")
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (7, 2, 3)


async def test_a_stream_is_passed_on_byte_for_byte(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert answered.body == b"".join(WHOLE)
    (used,) = rig.meter.events
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (7, 2, 3)


async def test_events_cut_anywhere_are_whole_again(rig: Rig) -> None:
    engine, sent = await rig.add_engine(), b"".join(WHOLE)
    for at in range(1, len(sent), 37):
        engine.behaviour = Behaviour(script=(sent[:at], sent[at:]), pace=0.001)
        answered = await rig.post({**ASK, "stream": True}, PATH)
        assert answered.body == sent
        used = rig.meter.events[-1]
        assert (used.prompt_tokens, used.completion_tokens) == (7, 2)


async def test_a_stream_that_the_caller_leaves_is_charged_for_what_came(rig: Rig) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(script=(START, *WORDS, *WORDS * 500), pace=0.02)
    await rig.post({**ASK, "stream": True}, PATH, leave_after=3)
    (used,) = rig.meter.events
    assert used.status == 499
    assert used.prompt_tokens == 7, "the first event tells it"
    assert 1 <= used.completion_tokens <= 10


async def test_an_engine_that_breaks_off_is_told_in_anthropics_shape(rig: Rig) -> None:
    failed = event("error", error={"type": "internal_error", "message": "the engine died"})
    (await rig.add_engine()).behaviour = Behaviour(script=(START, WORDS[0], failed), pace=0.02)
    answered = await rig.post({**ASK, "stream": True}, PATH)
    name, data = answered.body.strip().split(b"\n\n")[-1].split(b"\n")
    assert name == b"event: error"
    told = json.loads(data.removeprefix(b"data: "))
    assert (told["type"], told["error"]["type"]) == ("error", "api_error")
    assert told["error"]["message"] == "the engine died"
    (used,) = rig.meter.events
    assert (used.error_code, used.prompt_tokens) == ("engine_error", 0)
    assert used.completion_tokens == 1


async def test_a_lost_replica_ends_the_stream_with_an_error_event(rig: Rig) -> None:
    behaviour = Behaviour(script=WHOLE, pace=0.02, die_after=2)
    (await rig.add_engine()).behaviour = behaviour
    answered = await rig.post({**ASK, "stream": True}, PATH)
    last = answered.body.strip().split(b"\n\n")[-1]
    assert last.startswith(b"event: error\ndata: ")
    assert json.loads(last.partition(b"data: ")[2])["error"]["type"] == "overloaded_error"


async def test_another_replica_answers_where_the_first_is_dead(rig: Rig) -> None:
    dead = event("error", error={"type": "internal_error", "message": "dead", "code": 500})
    engines = [await rig.add_engine(), await rig.add_engine()]
    for engine, script in zip(engines, ((dead,), WHOLE), strict=True):
        engine.behaviour = Behaviour(script=script)
    bodies = {(await rig.post({**ASK, "stream": True}, PATH)).body for _ in range(6)}
    assert bodies == {b"".join(WHOLE)}


async def test_counting_takes_no_tokens(rig: Rig) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(script=(b'{"input_tokens": 7}',))
    body = {key: value for key, value in ASK.items() if key != "max_tokens"}
    answered = await rig.post(body, COUNT)
    assert answered.json == {"input_tokens": 7}
    assert "cache_salt" not in engine.requests[0]
    (used,) = rig.meter.events
    assert (used.prompt_tokens, used.completion_tokens) == (0, 0)


async def test_what_is_counted_has_a_bound(rig: Rig) -> None:
    body = {"model": "budgie", "messages": [{"role": "user", "content": "a" * MAX_BYTES}]}
    answered = await rig.post(body, COUNT)
    assert (answered.status, answered.json["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize(
    ("more", "status", "kind", "param"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        ({"max_tokens": "9"}, 400, "invalid_request_error", "max_tokens"),
        ({"messages": []}, 400, "invalid_request_error", "messages"),
        ({"metadata": []}, 400, "invalid_request_error", "metadata"),
        ({"stop_sequences": ["a" * 2000]}, 400, "invalid_request_error", "stop_sequences"),
        ({"kv_transfer_params": {}}, 400, "invalid_request_error", "kv_transfer_params"),
        ({"model": "nobody"}, 404, "not_found_error", "model"),
    ],
)
async def test_what_is_refused(
    rig: Rig, more: dict[str, Any], status: int, kind: str, param: str
) -> None:
    await rig.add_engine()
    answered = await rig.post({**ASK, **more}, PATH)
    error = answered.json["error"]
    assert (answered.status, answered.json["type"]) == (status, "error")
    assert (error["type"], error["param"]) == (kind, param)


async def test_no_replica_is_an_overload_with_a_time_to_come_again(rig: Rig) -> None:
    answered = await rig.post(ASK, PATH)
    assert (answered.status, answered.json["error"]["type"]) == (503, "overloaded_error")
    assert int(answered.headers["retry-after"]) >= 1


async def test_the_key_as_anthropics_clients_send_it(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)
    asking = {**ASK, "stream": True}
    for sent, status in ((rig.key, 200), ("sk-wrong", 401), (None, 401)):
        answered = await rig.post(asking, PATH, headers={"authorization": None, "x-api-key": sent})
        assert answered.status == status
    assert answered.json["error"]["type"] == "authentication_error"
