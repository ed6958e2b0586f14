"""The eight steps on real stores and fake engines: what a caller sees, what is accounted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster.catalog.replicas import Replica, Routing
from cluster.errors import Unavailable
from cluster.store.schema import Adapter
from cluster.tenancy.plans import Plans
from deployments.router import pipeline
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.engines import replicas
from tests.deployments.router.conftest import Rig
from tests.deployments.router.fake_engine import Behaviour

CHAT = {"model": "budgie", "messages": [{"role": "user", "content": "hi"}]}


async def happens(condition: Callable[[], bool]) -> None:
    """Wait for what the router does by itself."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_answer_arrives_and_is_accounted_once(rig: Rig) -> None:
    engine = await rig.add_engine()
    answered = await rig.post(CHAT)
    assert answered.status == 200
    assert answered.json["usage"]["total_tokens"] == 12
    (event,) = rig.meter.events
    assert (event.prompt_tokens, event.completion_tokens, event.cached_tokens) == (7, 5, 3)
    assert (event.status, event.error_code, event.base_model) == (200, None, "budgie")
    assert event.ttft_ms is not None
    assert event.latency_ms >= event.ttft_ms > 0
    assert engine.requests[0]["cache_salt"], "prompts of one organization are salted"
    assert engine.headers[0][b"x-lorikeet-token"].decode() == rig.settings.token()


async def test_a_name_that_is_no_models_is_not_accounted_as_one(rig: Rig) -> None:
    await rig.add_engine()
    for name in ("nope", "", 5, "budgie"):
        await rig.post({**CHAT, "model": name})
    assert [event.model for event in rig.meter.events] == ["", "", "", "budgie"]


async def test_a_callers_own_salt_is_mixed_with_the_organizations(rig: Rig) -> None:
    engine = await rig.add_engine()
    for own in ({}, {"cache_salt": None}, {"cache_salt": "a@/é" * 250}, {"cache_salt": "a"}):
        assert (await rig.post({**CHAT, **own})).status == 200
    sent = [request["cache_salt"] for request in engine.requests]
    # vLLM takes at most 128 characters, and not any.
    assert [len(bytes.fromhex(salt)) for salt in sent] == [32] * 4
    assert sent[0] == sent[1]
    assert len(set(sent)) == 3


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"n": 2, "temperature": 0}, (1.0, 1)),
        ({"n": 2, "temperature": 0.0, "top_k": 5}, (1.0, 1)),
        ({"n": 2, "temperature": 0, "use_beam_search": True}, (0, None)),
        ({"n": 2, "temperature": 0.5}, (0.5, None)),
        ({"n": 1, "temperature": 0}, (0, None)),
        ({"n": 2}, (None, None)),
    ],
)
async def test_several_answers_without_chance_are_asked_for_as_the_engine_takes_them(
    rig: Rig, asked: dict[str, Any], sent: tuple[float | None, int | None]
) -> None:
    engine = await rig.add_engine(fields={})
    assert (await rig.post({**CHAT, **asked})).status == 200
    (request,) = engine.requests
    assert (request.get("temperature"), request.get("top_k")) == sent


async def test_a_stream_hides_the_counts_that_nobody_asked_for(rig: Rig) -> None:
    engine = await rig.add_engine()
    answered = await rig.post({**CHAT, "stream": True})
    assert engine.requests[0]["stream_options"] == {"include_usage": True}
    assert answered.body == b"".join(
        b'data: {"choices":[{"delta":{"content":"t%d"}}]}\n\n' % i for i in range(5)
    ) + (b"data: [DONE]\n\n")
    assert answered.headers["content-type"].startswith("text/event-stream")
    (event,) = rig.meter.events
    assert (event.prompt_tokens, event.completion_tokens, event.stream) == (7, 5, True)


async def test_a_stream_shows_the_counts_to_who_asked(rig: Rig) -> None:
    await rig.add_engine()
    answered = await rig.post({**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    assert answered.body.count(b'"usage"') == 1


async def test_connections_to_an_engine_are_reused(rig: Rig) -> None:
    engine = await rig.add_engine()
    for _ in range(3):
        assert (await rig.post(CHAT)).status == 200
        assert (await rig.post({**CHAT, "stream": True})).status == 200
    assert engine.connections == 1


async def test_another_replica_takes_over_before_the_first_byte(rig: Rig) -> None:
    bad, good = await rig.add_engine(), await rig.add_engine(running=1)
    bad.behaviour = Behaviour(die_after=0)
    answered = await rig.post({**CHAT, "stream": True})
    assert answered.status == 200
    assert answered.body.endswith(b"data: [DONE]\n\n")
    assert (len(bad.requests), len(good.requests)) == (1, 1)
    assert len(rig.meter.events) == 1


async def test_a_replica_that_nobody_listens_at_is_passed_over(rig: Rig) -> None:
    gone, _ = await rig.add_engine(), await rig.add_engine(running=1)
    await gone.stop()
    assert [(await rig.post(CHAT)).status for _ in range(3)] == [200] * 3


DEAD = {"message": "EngineCore encountered an issue.", "param": None, "code": 500}


@pytest.mark.parametrize(
    ("status", "stream"),
    [(500, False), (502, False), (503, False), (500, True), (200, True)],
)
async def test_an_engine_that_died_is_passed_over(rig: Rig, status: int, stream: bool) -> None:
    dead, good = await rig.add_engine(), await rig.add_engine(running=1)
    dead.behaviour = Behaviour(status=status, error=DEAD)
    answers = [await rig.post({**CHAT, "stream": stream}) for _ in range(3)]
    assert [answered.status for answered in answers] == [200] * 3
    assert not any(b'"error"' in answered.body for answered in answers)
    assert (len(dead.requests), len(good.requests)) == (1, 3)


async def test_after_a_fault_others_are_tried_though_one_is_out_of_reach(rig: Rig) -> None:
    dead, gone = await rig.add_engine(), await rig.add_engine(running=1)
    await rig.add_engine(running=2)
    dead.behaviour = Behaviour(status=500, error=DEAD)
    await gone.stop()
    assert (await rig.post(CHAT)).status == 200


async def test_the_last_answer_is_given_when_every_engine_fails(rig: Rig) -> None:
    rig.pool.wait = 30
    engines = [await rig.add_engine() for _ in range(2)]
    for engine in engines:
        engine.behaviour = Behaviour(status=500, error=DEAD)
    async with asyncio.timeout(1):
        answered = await rig.post(CHAT)
    assert (answered.status, answered.json["error"]["message"]) == (500, DEAD["message"])
    assert [len(engine.requests) for engine in engines] == [1, 1]
    for engine in engines:
        engine.behaviour = Behaviour()
    assert (await rig.post(CHAT)).status == 200, "a suspect is taken where there is no other"


async def test_the_callers_own_fault_is_not_tried_again(rig: Rig) -> None:
    engines = [await rig.add_engine() for _ in range(2)]
    for engine in engines:
        engine.behaviour = Behaviour(status=400, error={**DEAD, "code": 400})
    assert (await rig.post(CHAT)).status == 400
    assert sum(len(engine.requests) for engine in engines) == 1


async def test_an_idle_connection_that_broke_costs_nothing(rig: Rig) -> None:
    rig.pool.wait = 30
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(forgetful=True)
    async with asyncio.timeout(1):
        assert [(await rig.post(CHAT)).status for _ in range(3)] == [200] * 3
    assert engine.connections == 3
    assert rig.pool._suspects == {}


async def test_a_replica_that_dies_of_a_request_counts_as_a_failure(rig: Rig) -> None:
    """On a kept connection it looks as if it had been broken before: the next one is refused."""
    rig.pool.wait = 30
    engines = [await rig.add_engine(running=running) for running in range(4)]
    for engine in engines:
        assert (await rig.post(CHAT)).status == 200  # leaves a connection
        rig.pool._suspects[f"replica{engines.index(engine)}"] = time.monotonic() + 60
        engine.behaviour = Behaviour(deadly=True)
    rig.pool._suspects.clear()
    before = sum(len(engine.requests) for engine in engines)
    async with asyncio.timeout(5):
        answered = await rig.post(CHAT)
    assert (answered.status, answered.headers["retry-after"]) == (503, "1")
    heard = sum(len(engine.requests) for engine in engines) - before
    assert heard == rig.settings.first_token_retries + 1


async def test_the_only_replica_is_tried_again_after_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "SUSPICION", 0.2)
    rig.pool.wait = 5
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(die_after=0)
    request = asyncio.create_task(rig.post(CHAT))
    await asyncio.sleep(0.1)
    engine.behaviour = Behaviour()
    assert (await rig.post(CHAT)).status == 200, "other callers need not wait"
    async with asyncio.timeout(1):
        assert (await request).status == 200


async def test_a_stream_that_breaks_ends_with_an_error_event(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(tokens=5, pace=0.02, die_after=2)
    answered = await rig.post({**CHAT, "stream": True})
    assert answered.status == 200, "the headers had left"
    last = json.loads(answered.body.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
    assert last["error"]["code"] == "service_unavailable"
    assert b"[DONE]" not in answered.body, "nobody may take it for whole"
    (event,) = rig.meter.events
    assert (event.status, event.error_code) == (503, "service_unavailable")
    assert event.completion_tokens == 2


async def test_an_engines_error_in_mid_stream_is_told_in_our_shape(rig: Rig) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(tokens=5, pace=0.02, fail_after=2, error=DEAD)
    answered = await rig.post({**CHAT, "stream": True})
    assert answered.status == 200
    failed = [event for event in answered.body.split(b"\n\n") if b'"error"' in event]
    (error,) = [json.loads(event.removeprefix(b"data: "))["error"] for event in failed]
    assert (error["code"], error["type"]) == ("internal_error", "api_error")
    assert error["message"] == DEAD["message"]
    (event,) = rig.meter.events
    assert event.error_code == "engine_error"
    assert (event.prompt_tokens, event.completion_tokens) == (0, 2)


async def test_what_is_nested_too_deeply_is_the_callers_mistake(rig: Rig) -> None:
    await rig.add_engine()
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    body = json.dumps(CHAT).encode().replace(b"{", b'{"metadata": %b, ' % deep, 1)
    answered = await rig.post(body)
    assert (answered.status, "deep" in answered.json["error"]["message"]) == (400, True)


async def test_no_replica_is_a_503_with_a_time_to_come_again(rig: Rig) -> None:
    answered = await rig.post(CHAT)
    assert answered.status == 503
    assert int(answered.headers["retry-after"]) >= 1
    assert answered.json["error"]["code"] == "service_unavailable"


async def test_any_replica_of_a_model_is_waited_for(rig: Rig) -> None:
    with pytest.raises(Unavailable, match="No replica of 'budgie' is ready"):
        await rig.pool.present("budgie")
    rig.pool.wait = 10
    waiting = asyncio.create_task(rig.pool.present("budgie"))
    await rig.add_engine()
    async with asyncio.timeout(10):
        await waiting


async def test_a_wrong_field_is_refused_while_the_only_replica_restarts(rig: Rig) -> None:
    await rig.add_engine()
    assert (await rig.post(CHAT)).status == 200
    rig.pool._replicas = {}
    answered = await rig.post({**CHAT, "temprature": 1})
    assert (answered.status, answered.json["error"]["param"]) == (400, "temprature")


async def test_a_request_waits_for_a_replica_that_is_coming(rig: Rig) -> None:
    request = asyncio.create_task(rig.post(CHAT))
    await asyncio.sleep(0.05)
    await rig.add_engine()
    async with rig.pool._arrival:
        rig.pool._arrival.notify_all()
    assert (await request).status == 200


async def test_a_request_that_takes_too_long_is_a_504(rig: Rig) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(tokens=100, pace=0.05)
    rig.pipelines["/v1/chat/completions"]._timeout = 0.2
    plain = await rig.post(CHAT)
    assert (plain.status, plain.json["error"]["code"]) == (504, "timeout")
    assert rig.meter.events[0].prompt_tokens == 0, "the limit is ours, not the caller's"
    streamed = await rig.post({**CHAT, "stream": True})
    assert json.loads(streamed.body.split(b"\n\n")[-2][6:])["error"]["code"] == "timeout"
    # Nobody generates for a caller who was told that it is over.
    await happens(lambda: not engine.running)


async def test_a_caller_who_stops_reading_holds_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TELL", 2.0)
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(tokens=1000, pace=0.01)
    rig.pipelines["/v1/chat/completions"]._timeout = 0.2
    request = asyncio.create_task(rig.post({**CHAT, "stream": True}, read=2))
    await happens(lambda: bool(rig.meter.events))
    assert not request.done(), "it is being told"
    await happens(lambda: not engine.running)
    assert [occupancy.mine for occupancy in rig.pool._occupancies.values()] == [0]
    (event,) = rig.meter.events
    assert (event.status, event.error_code) == (504, "timeout")
    async with asyncio.timeout(10):
        await request


async def test_what_can_not_be_given_back_keeps_nothing_from_being_settled(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(replica: Replica) -> None:
        raise RuntimeError("broken")

    await rig.add_engine()
    monkeypatch.setattr(rig.pool, "give_back", broken)
    before = asyncio.all_tasks()
    assert (await rig.post(CHAT)).status == 200
    assert [event.completion_tokens for event in rig.meter.events] == [5]
    assert "kept something" in caplog.text
    await happens(lambda: not any("watch" in repr(task) for task in asyncio.all_tasks() - before))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_stops_the_generation(rig: Rig, stream: bool) -> None:
    engine = await rig.add_engine()
    engine.behaviour = Behaviour(tokens=1000, pace=0.01)
    request = asyncio.create_task(
        rig.post({**CHAT, "stream": stream}, leave_after=2 if stream else 0)
    )
    if not stream:
        await happens(lambda: engine.running == 1)
        request.cancel()
    await asyncio.wait({request}, timeout=10)
    await happens(lambda: (engine.running, engine.aborted) == (0, 1))
    (event,) = rig.meter.events
    assert (event.status, event.error_code) == (499, "client_gone")
    assert event.prompt_tokens == len(json.dumps({**CHAT, "stream": stream})) // BYTES_PER_TOKEN
    assert (event.completion_tokens > 0) == stream


async def test_leaving_before_the_counts_settles_an_estimate(rig: Rig) -> None:
    plans = Plans(rig.platform.database, rig.platform.redis)
    await plans.change(rig.tenant.organization_id, {"tokens_per_minute": 2000})
    (await rig.add_engine()).behaviour = Behaviour(tokens=50, pace=0.01)
    long = {**CHAT, "messages": [{"role": "user", "content": "x" * 1500}], "max_tokens": 10}
    left = await rig.post({**long, "stream": True}, leave_after=5)
    assert left.status == 200
    assert (await rig.post(long)).status == 429, "what was left unpaid would be free again"


@pytest.mark.parametrize("status", [400, 500])
async def test_a_refusal_costs_no_tokens(rig: Rig, status: int) -> None:
    (await rig.add_engine()).behaviour = Behaviour(status=status, error={**DEAD, "code": status})
    await rig.post(CHAT)
    (event,) = rig.meter.events
    assert (event.status, event.prompt_tokens, event.completion_tokens) == (status, 0, 0)


async def test_an_adapter_is_asked_of_who_holds_it(rig: Rig) -> None:
    from cluster.catalog.route import Route
    from tests.deployments.router.conftest import BUDGIE

    without = await rig.add_engine()
    holding = await rig.add_engine(adapters=frozenset({"bot@0123456789ab"}), running=9)
    organization = rig.tenant.organization_id
    rig.catalog._snapshot.adapters[organization, "bot"] = Route(
        "bot", BUDGIE, "bot@0123456789ab", "0123456789ab"
    )
    assert (await rig.post({**CHAT, "model": "bot"})).status == 200
    assert (len(without.requests), len(holding.requests)) == (0, 1)
    assert holding.requests[0]["model"] == "bot@0123456789ab"
    assert rig.meter.events[0].adapter_digest == "0123456789ab"


BAD = {
    "malformed": (b'{"model": ', 400, None, "invalid_json"),
    "not utf-8": (b'{"model": "\xff"}', 400, None, "invalid_json"),
    "a list": ([1], 400, None, "invalid_request"),
    "empty body": (b"", 400, None, "invalid_request"),
    "no model": ({"messages": CHAT["messages"]}, 400, "model", "invalid_request"),
    "model of a wrong type": ({**CHAT, "model": 3}, 400, "model", "invalid_request"),
    "unknown model": ({**CHAT, "model": "nope"}, 404, "model", "model_not_found"),
    "empty messages": ({**CHAT, "messages": []}, 400, "messages", "invalid_request"),
    "messages of a wrong type": ({**CHAT, "messages": "hi"}, 400, "messages", "invalid_request"),
    "stream of a wrong type": ({**CHAT, "stream": "yes"}, 400, "stream", "invalid_request"),
    "too many answers": ({**CHAT, "n": 129}, 400, "n", "invalid_request"),
    "outputs of a wrong type": (
        {**CHAT, "structured_outputs": 1}, 400, "structured_outputs", "invalid_request",
    ),
    "an unknown field": ({**CHAT, "temprature": 1}, 400, "temprature", "unknown_parameter"),
    "an engine's own field": ({**CHAT, "request_id": "x"}, 400, "request_id", "unknown_parameter"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_refused_with_its_field(rig: Rig, case: str) -> None:
    engine = await rig.add_engine()
    body, status, param, code = BAD[case]
    answered = await rig.post(body)
    error = answered.json["error"]
    assert (answered.status, error["param"], error["code"]) == (status, param, code)
    assert error["message"]
    assert engine.requests == []


async def test_a_wrong_key_is_a_401_and_is_not_repeated(rig: Rig) -> None:
    wrong = "lk-" + "A" * 43
    answered = await rig.post(CHAT, headers={"authorization": f"Bearer {wrong}"})
    assert answered.status == 401
    assert answered.json["error"]["code"] == "invalid_api_key"
    assert wrong not in answered.body.decode()
    assert rig.meter.events == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
async def test_no_byte_is_read_of_a_stranger(rig: Rig, path: str) -> None:
    rig.key = "lk-" + "A" * 43

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    answered = await rig.post(CHAT, path, receive=receive)
    assert (answered.status, answered.json["error"]["code"]) == (401, "invalid_api_key")


async def test_a_body_over_the_bound_is_a_413(rig: Rig) -> None:
    rig.pipelines["/v1/chat/completions"]._steps[2]._limit = 64  # type: ignore[attr-defined]
    answered = await rig.post({**CHAT, "messages": [{"role": "user", "content": "x" * 100}]})
    assert (answered.status, answered.json["error"]["code"]) == (413, "request_too_large")


async def test_the_engines_refusal_keeps_its_field(rig: Rig) -> None:
    told = {"message": "temperature must be non-negative", "param": "temperature", "code": 400}
    (await rig.add_engine()).behaviour = Behaviour(status=400, error=told)
    answered = await rig.post(CHAT)
    assert answered.status == 400
    assert answered.json["error"]["param"] == "temperature"
    assert answered.json["error"]["type"] == "invalid_request_error"


async def test_limits_are_answered_with_the_time_and_the_headers(rig: Rig) -> None:
    await rig.add_engine()
    plans = Plans(rig.platform.database, rig.platform.redis)
    limits = {"requests_per_minute": 1, "tokens_per_minute": 100_000}
    await plans.change(rig.tenant.organization_id, limits)
    first, second = await rig.post(CHAT), await rig.post(CHAT)
    assert (first.status, second.status) == (200, 429)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    assert 1 <= int(second.headers["retry-after"]) <= 60
    assert second.json["error"]["code"] == "rate_limit_exceeded"
    assert second.headers["x-ratelimit-limit-requests"] == "1"


async def test_a_callers_request_id_may_come_twice_and_both_are_requests(rig: Rig) -> None:
    await rig.add_engine()
    for _ in range(2):
        await rig.post(CHAT, headers={"x-request-id": "mine-1"})
    assert len({event.request_id for event in rig.meter.events}) == 2


async def test_an_adapter_that_nobody_holds_is_asked_of_who_loads_it(rig: Rig) -> None:
    engine = await rig.add_engine(places=4)
    await rig.post(CHAT)
    assert b"x-lorikeet-adapter" not in engine.headers[0]
    async with rig.platform.database.begin() as session:
        session.add(
            Adapter(
                id="adapter-1", organization_id=rig.tenant.organization_id,
                project_id=rig.tenant.project_id, name="bot", base_model="budgie",
                digest="5" * 64, uri="u", bytes=1, rank=4, target_modules=[], state="published",
            )
        )  # fmt: skip
    await rig.catalog.refresh()
    assert (await rig.post({**CHAT, "model": "bot"})).status == 200
    name = f"bot@{'5' * 32}"
    assert engine.headers[1][b"x-lorikeet-adapter"].decode() == name
    assert engine.requests[1]["model"] == name


async def test_a_conversation_stays_with_its_replica(rig: Rig) -> None:
    engines = [await rig.add_engine(routing=Routing.PREFIX) for _ in range(3)]
    talks = {n: [{"role": "user", "content": f"{n} {'x' * 300}"}] for n in range(6)}
    for turn in range(4):
        for talk in talks.values():
            await rig.post({**CHAT, "messages": talk})
            talk.append({"role": "user", "content": f"and {turn}? {'y' * 200}"})
    for n in talks:
        asked = [sum(r["messages"][0]["content"][0] == str(n) for r in e.requests) for e in engines]
        assert sorted(asked) == [0, 0, 4]


async def test_who_lacks_an_adapter_is_no_suspect(rig: Rig) -> None:
    """Another one is asked, and of several refusals the last is told; the base model goes on."""
    engines = [await rig.add_engine(places=1) for _ in range(2)]
    error = {"message": "The adapter 'bot' was not loaded.", "code": 424}
    for engine in engines:
        engine.behaviour = Behaviour(status=424, error=error)
    answered = await rig.post(CHAT)
    assert (answered.status, answered.json["error"]["message"]) == (503, error["message"])
    assert [len(engine.requests) for engine in engines] == [1, 1]
    assert rig.pool._suspects == {}
