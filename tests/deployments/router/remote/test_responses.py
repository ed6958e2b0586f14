"""`/v1/responses` to a provider that has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.catalog.connection import Protocol
from cluster.catalog.route import Remote
from cluster.errors import InvalidRequest, LorikeetError
from deployments.router.exchange import Exchange
from tests.deployments.router.conftest import Rig
from tests.deployments.router.provider import Answering, document, events, named
from tests.deployments.router.remote.test_providers import by_model

PATH = "/v1/responses"
ASK = {"model": "other/gpt-x", "input": "hi", "store": False}
USAGE = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}
DELTA = named("response.output_text.delta", delta="a")


async def nothing(*_: Any) -> Any:
    raise AssertionError("nobody is heard and nobody told")


async def ask(
    rig: Rig, answering: Answering, protocol: Protocol = Protocol.OPENAI, **more: Any
) -> tuple[Exchange, Any]:
    provider = await rig.connect(answering, protocol, f"other{len(rig.fakes)}")
    row = await rig.connections.get(rig.tenant.organization_id, f"other{len(rig.fakes) - 1}")
    exchange = Exchange(PATH, {"headers": []}, nothing, nothing)
    exchange.document = {**ASK, **more}
    exchange.stream = bool(more.get("stream"))
    exchange.prompt_estimate = 30
    exchange.route = Remote("other/gpt-x", row.id, "gpt-x")
    answer = await rig.providers.send(exchange)
    assert provider.asked[0].path == PATH
    assert provider.asked[0].json == {**ASK, **more, "model": "gpt-x"}
    return exchange, answer


async def test_whole_answers_and_streams(rig: Rig) -> None:
    whole = {"id": "resp_1", "object": "response", "output": [], "usage": USAGE}
    exchange, answer = await ask(rig, lambda asked: document(whole))
    assert json.loads(exchange.first) == whole
    assert (exchange.usage.prompt, exchange.usage.completion, exchange.usage.cached) == (9, 2, 1)
    end = named("response.completed", response={"usage": USAGE})
    exchange, answer = await ask(rig, lambda asked: events([DELTA, end]), stream=True)
    assert exchange.first + await answer.read_all() == DELTA + end
    answer.close()


async def test_a_whole_one_without_counts_is_estimated(rig: Rig) -> None:
    said = {"type": "message", "content": [{"type": "output_text", "text": "a" * 300}]}
    await rig.connect(lambda asked: document({"status": "completed", "output": [said]}))
    assert (await rig.post(ASK, PATH)).status == 200
    assert rig.meter.events[0].completion_tokens == 100


async def test_its_own_counts_go_before_ours(rig: Rig) -> None:
    whole = {"status": "completed", "output": [], "usage": USAGE}
    failed = {"status": "failed", "usage": USAGE, "error": {"code": "server_error"}}
    replies = {
        "good": events([DELTA * 5 + named("response.completed", response=whole)]),
        "bad": events([DELTA * 5 + named("response.failed", response=failed)]),
        "odd": events([DELTA * 5, named("response.completed", response={**whole, "usage": 1})]),
    }
    await rig.connect(by_model(replies))
    for model in replies:
        await rig.post({**ASK, "model": f"other/{model}", "stream": True}, PATH)
    good, bad, odd = rig.meter.events
    assert (good.prompt_tokens, good.completion_tokens, good.cached_tokens) == (9, 2, 1)
    assert (bad.prompt_tokens, bad.completion_tokens, bad.error_code) == (0, 2, "upstream_error")
    assert (odd.completion_tokens, odd.error_code) == (5, None)


CREATED = named("response.created", response={"status": "in_progress", "output": []})
GARBAGE = {
    "no response": named("response.completed", other=1),
    "a list": named("response.in_progress", response=[1]),
    "a text": named("response.failed", response="x"),
}


@pytest.mark.parametrize("odd", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_response_is_their_fault(rig: Rig, odd: bytes) -> None:
    replies = {"first": events([odd]), "later": events([CREATED, DELTA, odd], pace=0.01)}
    await rig.connect(by_model(replies))
    for model, status in {"first": 502, "later": 200}.items():
        body = {**ASK, "model": f"other/{model}", "stream": True, "store": True}
        answered = await rig.post(body, PATH)
        assert answered.status == status
        assert b'"code":"upstream_error"' in answered.body
        assert rig.meter.events[-1].error_code == "upstream_error"


async def test_odd_events_that_can_be_read_are(rig: Rig) -> None:
    spread = (
        b'event: x\ndata: {"type": "response.completed",\ndata: "response": {"output": []}}\n\n'
    )
    unnamed = b'event: response.created\ndata: {"type": ["a"]}\n\n'
    await rig.connect(lambda asked: events([unnamed, DELTA, spread]))
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert answered.body.startswith(b'data: {"type": ["a"]}\n\n')
    assert b"event: response.completed\n" in answered.body
    assert (rig.meter.events[0].status, rig.meter.events[0].error_code) == (200, None)


@pytest.mark.parametrize(("deltas", "leave_after"), [(6, None), (40, 3)])
async def test_what_nobody_counts_is_counted_once(
    rig: Rig, deltas: int, leave_after: int | None
) -> None:
    end = named("response.completed", response={"status": "completed", "output": []})
    pace = 0.0 if leave_after is None else 0.01
    await rig.connect(lambda asked: events([*[DELTA] * deltas, end], pace=pace))
    answered = await rig.post({**ASK, "stream": True}, PATH, leave_after=leave_after)
    seen = answered.body.count(b"event: response.output_text.delta\n")
    assert rig.meter.events[0].completion_tokens == seen <= deltas


async def test_streams_that_fail(rig: Rig) -> None:
    failed = named("response.failed", response={"error": {"code": "server_error"}})
    exchange, answer = await ask(rig, lambda asked: events([DELTA, failed]), stream=True)
    assert (exchange.first + await answer.read_all()).endswith(failed)
    assert exchange.error_code == "upstream_error"
    answer.close()
    for last, status in ((named("error", code="rate_limit_exceeded", message="no"), 429),
                         (b": the end\n\n", 503)):  # fmt: skip
        exchange, answer = await ask(rig, lambda asked, last=last: events([DELTA, last]),
                                     stream=True)  # fmt: skip
        with pytest.raises(LorikeetError) as caught:
            await answer.read_all()
        assert caught.value.status == status
        assert exchange.usage.prompt == 0
        answer.close()


async def test_anthropics_protocol_has_none(rig: Rig) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ask(rig, lambda asked: document({}), Protocol.ANTHROPIC)
    assert caught.value.code == "unsupported_endpoint"
