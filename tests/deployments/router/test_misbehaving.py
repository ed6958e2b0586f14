"""Engines that stall, die and send what is no answer: what callers get, and that nothing stays.

Every case ends with an answer in OpenAI's shape, one usage event, and a router that has given back
all that the request took.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from cluster.tenancy.plans import Plans
from deployments.router.dialects import dialect
from deployments.router.engines import sender as engines
from deployments.router.engines import upstream
from tests.deployments.router.conftest import Answered, Rig
from tests.deployments.router.fake_engine import Behaviour, FakeEngine
from tests.deployments.router.test_pipeline import happens

CHAT = {"model": "budgie", "messages": [{"role": "user", "content": "hi"}]}
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
LIMITS = {"max_concurrent": 1, "tokens_per_minute": 1_000_000}


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def sized(length: int, body: bytes) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n" % length + body


@dataclass(frozen=True)
class Case:
    """What an engine does, and what a caller of it is told."""

    does: Behaviour
    status: int
    code: str
    stream: bool = False
    begun: bool = False
    """Whether the answer had begun, so that its error is the stream's last event."""
    tokens: int = 0
    """Those that were delivered, and count."""


LOST, LATE, GARBLED = "service_unavailable", "timeout", "upstream_error"
CASES = {
    "stalls before its answer": Case(Behaviour(stall_after=0), 504, LATE),
    "stalls before its stream": Case(Behaviour(stall_after=-1), 504, LATE, stream=True),
    "stalls before the first token": Case(Behaviour(stall_after=0), 504, LATE, stream=True),
    "stalls after two tokens": Case(
        Behaviour(stall_after=2, pace=0.01), 504, LATE, stream=True, begun=True, tokens=2
    ),
    "dies before its answer": Case(Behaviour(die_after=0), 503, LOST),
    **{
        f"dies after {many} tokens": Case(
            Behaviour(die_after=many, pace=0.01), 503, LOST, stream=True, begun=True, tokens=many
        )
        for many in (1, 2, 4)
    },
    "dies before the first token": Case(Behaviour(die_after=0), 503, LOST, stream=True),
    "answers 500": Case(
        Behaviour(status=500, error={"message": "boom"}), 500, "internal_error", stream=True
    ),
    "answers 500 without a word": Case(
        Behaviour(raw=(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",)), 500, "internal_error"
    ),
    "answers 418": Case(Behaviour(status=418, error={"message": "tea"}), 502, GARBLED),
    "speaks another protocol": Case(Behaviour(raw=(b"SSH-2.0-OpenSSH_9.2\r\n",)), 503, LOST),
    "says nothing and hangs up": Case(Behaviour(raw=()), 503, LOST),
    "hangs up in the header": Case(Behaviour(raw=(HEAD, b"content-len")), 503, LOST),
    "stops in the header": Case(Behaviour(raw=(HEAD, b"content-len"), hang=True), 504, LATE),
    "never ends its header": Case(Behaviour(raw=(HEAD,), endless=b"x: y\r\n" * 99), 504, LATE),
    "sends two lengths": Case(
        Behaviour(raw=(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",)), 503, LOST
    ),
    "sends less than it said": Case(Behaviour(raw=(sized(99, b'{"usage":'),)), 503, LOST),
    "stops before what it said": Case(
        Behaviour(raw=(sized(99, b'{"usage":'),), hang=True), 504, LATE
    ),
    "sends more than it said": Case(Behaviour(raw=(sized(3, b'{"usage": null}'),)), 502, GARBLED),
    "sends no JSON": Case(Behaviour(script=(b"<html>It works!</html>",)), 502, GARBLED),
    "sends a list": Case(Behaviour(script=(b"[1, 2]",)), 502, GARBLED),
    "sends nothing": Case(Behaviour(script=(b"",)), 502, GARBLED),
    "never ends its answer": Case(
        Behaviour(raw=(CHUNKED,), endless=chunk(b" " * 5000)), 503, LOST
    ),
    "sends counts that are no JSON": Case(
        Behaviour(script=(EVENT, b'data: {"choices":[],"usage":{\n\n'), pace=0.02),
        502, GARBLED, stream=True, begun=True, tokens=2,
    ),
    "ends in the middle of an event": Case(
        Behaviour(script=(EVENT, b'data: {"choi'), pace=0.02),
        502, GARBLED, stream=True, begun=True, tokens=1,
    ),
    "never ends an event": Case(
        Behaviour(raw=(CHUNKED + chunk(EVENT),), endless=chunk(b"x" * 5000)),
        502, GARBLED, stream=True, begun=True, tokens=1,
    ),
    "breaks a chunk": Case(
        Behaviour(raw=(CHUNKED + chunk(EVENT), b"zz\r\nno length\r\n"), hang=True),
        503, LOST, stream=True, begun=True, tokens=1,
    ),
}  # fmt: skip


@pytest.fixture
async def limited(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One request at a time: what is not given back would refuse the next one."""
    rig.pool.wait = 0.05
    monkeypatch.setattr(engines, "RETRY_PAUSE", 0.001)
    monkeypatch.setattr(upstream, "MOST", 100_000)
    monkeypatch.setattr(dialect, "MOST", 100_000)
    plans = Plans(rig.platform.database, rig.platform.redis)
    await plans.change(rig.tenant.organization_id, LIMITS)
    return rig


def error_of(answered: Answered, *, begun: bool) -> dict[str, Any]:
    if not begun:
        assert answered.headers["content-type"] == "application/json"
        assert int(answered.headers["content-length"]) == len(answered.body)
        told = answered.json
    else:
        assert answered.status == 200, "the headers had left"
        assert b"[DONE]" not in answered.body, "nobody may take it for whole"
        events = answered.body.split(b"\n\n")
        assert events.pop() == b""
        told = json.loads(events[-1].removeprefix(b"data: "))
        assert sum(b'"error"' in event for event in events) == 1
    assert told.keys() == {"error"}
    assert {"message", "type", "param", "code"} <= told["error"].keys()
    return dict(told["error"])


async def nothing_stays(rig: Rig, engine: FakeEngine, before: set[Any]) -> None:
    await happens(lambda: not engine.running)
    assert all(one.mine == 0 for one in rig.pool._occupancies.values())
    idle = [answer for kept in rig.transport._upstreams._idle.values() for answer in kept]
    assert all(answer.usable and not answer._asked for answer in idle)
    assert len(idle) <= 1
    ours = ("deployments.router", "Pipeline.run", "presence.")
    await happens(
        lambda: (
            not [
                task
                for task in asyncio.all_tasks() - before
                if any(word in repr(task) for word in ours)
            ]
        )
    )


async def test_it_is_told_accounted_and_forgotten(limited: Rig, subtests: pytest.Subtests) -> None:
    """On one router, so that what a case leaves behind meets the next one."""
    before = asyncio.all_tasks()
    pipeline = limited.pipelines["/v1/chat/completions"]
    for name, case in CASES.items():
        limited.meter.events.clear()
        limited.pool._suspects.clear()
        engine = await limited.add_engine()
        engine.behaviour = case.does
        pipeline._timeout = 0.25 if case.code == LATE else 10.0
        with subtests.test(name):
            async with asyncio.timeout(10):
                answered = await limited.post({**CHAT, "stream": case.stream})
            judge(limited, case, answered)
            await nothing_stays(limited, engine, before)
        engine.behaviour = Behaviour()
        limited.pool._suspects.clear()
        pipeline._timeout = 10.0
        with subtests.test(f"{name}, and the next request"):
            again = await limited.post(CHAT)
            assert again.status == 200, "its place was given back"
            assert again.json["usage"]["total_tokens"] == 12, "no byte of the other is left"
            assert len(limited.meter.events) == 2
        await limited.remove_engines()


def judge(rig: Rig, case: Case, answered: Answered) -> None:
    error = error_of(answered, begun=case.begun)
    assert error["code"] == case.code
    if not case.begun:
        assert answered.status == case.status
    if case.status == 503 and not case.begun:
        assert int(answered.headers["retry-after"]) >= 1
    (event,) = rig.meter.events
    assert (event.status, event.error_code) == (case.status, case.code)
    assert event.completion_tokens == case.tokens
    # The engine goes on with a stream until it is told; what never left the router costs nothing.
    assert (event.prompt_tokens > 0) == (case.code == LATE and case.begun)


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", sized(2, b"{}"), b"?"]
)
async def test_what_comes_without_a_question_answers_none(limited: Rig, sent: bytes) -> None:
    engine = await limited.add_engine()
    assert (await limited.post(CHAT)).status == 200
    (idle,) = limited.transport._upstreams._idle[str(engine.path)]
    engine.writers[0].write(sent)
    await happens(lambda: not idle.usable)
    answered = await limited.post(CHAT)
    assert answered.json["usage"]["total_tokens"] == 12
    assert engine.connections == 2


async def test_two_answers_at_once_do_not_meet_the_next_caller(limited: Rig) -> None:
    body = b'{"usage": null}'
    engine = await limited.add_engine()
    engine.behaviour = Behaviour(raw=(sized(len(body), body) * 2,), hang=True)
    assert (await limited.post(CHAT)).body == body
    engine.behaviour = Behaviour()
    assert (await limited.post(CHAT)).json["usage"]["total_tokens"] == 12
    assert engine.connections == 2


async def test_an_engine_that_hangs_up_on_idle_connections_is_no_failure(limited: Rig) -> None:
    engine = await limited.add_engine()
    for connections in (1, 2, 3):
        assert (await limited.post(CHAT)).status == 200
        assert engine.connections == connections
        engine.hang_up()
        await happens(lambda: not limited.transport._upstreams._idle.get(str(engine.path)))
    assert limited.pool._suspects == {}


async def test_one_that_misbehaves_is_passed_over_for_one_that_does_not(limited: Rig) -> None:
    """Before the first byte no caller notices, whatever it is."""
    good = await limited.add_engine(running=50)
    for name in ("speaks another protocol", "hangs up in the header", "sends two lengths",
                 "dies before its answer", "answers 500 without a word"):  # fmt: skip
        bad = await limited.add_engine()
        bad.behaviour = CASES[name].does
        assert (await limited.post(CHAT)).status == 200, name
        assert len(bad.requests) == 1
    assert len(good.requests) == len(limited.meter.events) == 5


async def test_leases_are_gone_from_redis(limited: Rig, redis: Redis) -> None:
    """As long as one is there, `max_concurrent` counts it."""
    engine = await limited.add_engine()
    engine.behaviour = Behaviour(pace=0.01, die_after=3)
    await limited.post({**CHAT, "stream": True})
    answers = await asyncio.gather(*(limited.post({**CHAT, "stream": True}) for _ in range(3)))
    assert sorted(answered.status for answered in answers) == [200, 429, 429]
    assert len(limited.meter.events) == 4
