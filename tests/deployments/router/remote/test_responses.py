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
    assert (exchange.usage.prompt, exchange.usage.completion, exchange.usage.cached) == (9, 2, 1)
    answer.close()


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
