"""Models of other providers through the pipeline: what they are sent, what the caller gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cluster.catalog.aliases import Aliases
from cluster.catalog.connection import Protocol
from cluster.catalog.connections import Change, compose
from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from cluster.errors import ModelNotFound
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN
from deployments.router.remote import answer, providers
from tests.deployments.router import provider as fake
from tests.deployments.router.conftest import Rig
from tests.deployments.router.provider import (
    DONE,
    Answering,
    Reply,
    anthropic,
    chunk,
    document,
    events,
    named,
    openai,
)
from tests.deployments.router.test_pipeline import happens

CHAT: dict[str, Any] = {"model": "other/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**CHAT, "stream": True}
MESSAGES = "/v1/messages"
MESSAGE = {**CHAT, "model": "other/claude-x", "max_tokens": 9}


def data(body: bytes) -> list[Any]:
    """The documents of a stream."""
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines if line != b"data: [DONE]"]


async def test_a_chat_is_passed_on_as_it_is(rig: Rig) -> None:
    provider = await rig.connect(openai)
    answered = await rig.post({**CHAT, "seed": 4, "their_own_field": {"a": 1}, "user": "ann"})
    assert (answered.status, answered.json) == (200, fake.completion(CHAT))
    (asked,) = provider.asked
    expected = {**CHAT, "model": "gpt-x", "seed": 4, "their_own_field": {"a": 1}, "user": "ann"}
    assert (asked.path, asked.json) == ("/v1/chat/completions", expected)
    (used,) = rig.meter.events
    assert asked.headers["x-request-id"] == used.request_id
    assert rig.key not in str(asked), "the caller's key stays here"
    assert (used.model, used.base_model) == ("other/gpt-x", "other/gpt-x")
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (11, 3, 4)
    assert (used.status, used.end_user) == (200, "ann")


async def test_a_stream_is_passed_on_and_counted(rig: Rig) -> None:
    provider = await rig.connect(openai)
    answered = await rig.post(STREAM)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert answered.body == b"".join(fake.chat_events(STREAM))
    assert provider.asked[0].json["stream_options"] == {"include_usage": True}
    (used,) = rig.meter.events
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (11, 3, 4)
    assert used.stream
    assert used.ttft_ms is not None
    wanted = {**STREAM, "stream_options": {"include_usage": True}}
    assert data((await rig.post(wanted)).body)[-1]["usage"] == fake.USAGE
    await happens(lambda: rig.providers._closing == set())
    assert provider.connections == 1, "connections are kept"


async def test_counts_that_come_with_the_last_word_are_hidden_too(rig: Rig) -> None:
    last = chunk({"content": "a"}, "stop", usage=fake.USAGE)
    await rig.connect(lambda asked: events([last, last, DONE]))
    assert b"prompt_tokens" not in (await rig.post(STREAM)).body
    wanted = {**STREAM, "stream_options": {"include_usage": True}}
    shown = data((await rig.post(wanted)).body)
    assert [each["usage"] for each in shown] == [None, None, fake.USAGE]
    assert [each["choices"] == [] for each in shown] == [False, False, True]
    assert {event.prompt_tokens for event in rig.meter.events} == {11}


async def test_the_other_endpoints_of_the_protocol(rig: Rig) -> None:
    provider = await rig.connect(openai)
    embed = {"model": "other/e-x", "input": ["a"], "input_type": "query"}
    answered = await rig.post(embed, "/v1/embeddings")
    assert answered.json["data"][0]["embedding"] == [0.5, 0.25]
    assert provider.asked[0].json == {**embed, "model": "e-x"}
    assert rig.meter.events[0].prompt_tokens == 2
    answered = await rig.post({"model": "other/gpt-x", "prompt": "a"}, "/v1/completions")
    assert answered.json["choices"][0]["text"] == "Hello!"
    assert rig.meter.events[1].completion_tokens == 3


async def test_what_steers_our_own_engines_is_refused(rig: Rig) -> None:
    provider = await rig.connect(openai)
    for field in ("vllm_xargs", "kv_transfer_params"):
        answered = await rig.post({**CHAT, field: {}})
        assert (answered.status, answered.json["error"]["param"]) == (400, field)
    await rig.post({**CHAT, "cache_salt": "mine"})
    assert [asked.json for asked in provider.asked] == [{**CHAT, "model": "gpt-x"}]


async def test_anthropics_own_protocol(rig: Rig) -> None:
    provider = await rig.connect(anthropic, Protocol.ANTHROPIC)
    headers: dict[str, str | None] = {"anthropic-beta": "b-1", "x-api-key": rig.key}
    answered = await rig.post({**MESSAGE, "theirs": 1}, MESSAGES, headers=headers)
    assert answered.json == fake.message(MESSAGE)
    (asked,) = provider.asked
    assert asked.json == {**MESSAGE, "model": "claude-x", "theirs": 1}
    assert (asked.headers["anthropic-version"], asked.headers["anthropic-beta"]) == (
        "2023-06-01", "b-1",
    )  # fmt: skip
    assert rig.key not in str(asked)
    (used,) = rig.meter.events
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (11, 3, 4)
    answered = await rig.post(
        {**MESSAGE, "stream": True}, MESSAGES, headers={"anthropic-version": "2099-01-01"}
    )
    assert answered.body == b"".join(fake.message_events(MESSAGE))
    assert provider.asked[1].headers["anthropic-version"] == "2099-01-01"
    used = rig.meter.events[-1]
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (11, 3, 4)
    count = {"model": "other/claude-x", "messages": CHAT["messages"]}
    answered = await rig.post(count, "/v1/messages/count_tokens")
    assert answered.json == {"input_tokens": 11}


async def test_what_a_protocol_has_not(rig: Rig) -> None:
    providers = [await rig.connect(openai), await rig.connect(openai, Protocol.ANTHROPIC, "second")]
    for path, body in (
        ("/v1/completions", {"model": "second/x", "prompt": "a"}),
        ("/v1/embeddings", {"model": "second/x", "input": "a"}),
        ("/tokenize", {"model": "other/x", "prompt": "a"}),
    ):
        answered = await rig.post(body, path)
        assert answered.json["error"]["code"] == "unsupported_endpoint"
    answered = await rig.post({**MESSAGE, "model": "other/x"}, "/v1/messages/count_tokens")
    assert answered.status == 400
    assert "does not answer" in answered.json["error"]["message"]
    assert [provider.asked for provider in providers] == [[], []]


def by_model(replies: dict[str, Reply]) -> Answering:
    """A provider whose models answer with these."""
    return lambda asked: replies[asked.json["model"]]


def refusal(status: int, told: Any = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = told or {"message": "they said", "type": "x", "code": None}
    return document({"error": error}, status=status, headers=named)


REFUSALS = {
    400: (400, "invalid_request"),
    401: (502, "upstream_authentication_failed"),
    403: (502, "upstream_authentication_failed"),
    404: (404, "model_not_found"),
    408: (504, "timeout"),
    413: (413, "request_too_large"),
    422: (400, "invalid_request"),
    429: (429, "upstream_rate_limited"),
    500: (502, "upstream_error"),
    503: (503, "service_unavailable"),
    529: (503, "service_unavailable"),
    302: (502, "upstream_error"),
    204: (502, "upstream_error"),
}


async def test_what_they_refuse(rig: Rig) -> None:
    replies = {f"{status}": refusal(status, location="http://127.0.0.1:1/") for status in REFUSALS}
    replies["204"] = Reply(status=204)
    replies["500 and more"] = Reply(b"<html>" * 20_000, status=500, kind="text/html")
    provider = await rig.connect(by_model(replies))
    expected = {f"{status}": told for status, told in REFUSALS.items()}
    expected["500 and more"] = (502, "upstream_error")
    for model, (status, code) in expected.items():
        for stream in (False, True):
            answered = await rig.post({**CHAT, "model": f"other/{model}", "stream": stream})
            assert (answered.status, answered.json["error"]["code"]) == (status, code)
            used = rig.meter.events[-1]
            assert (used.error_code, used.prompt_tokens, used.completion_tokens) == (code, 0, 0)
    # What may cost is not asked twice, and a redirect not followed.
    assert len(provider.asked) == 2 * len(expected)


async def test_their_words_and_their_pause_are_passed_on(rig: Rig) -> None:
    await rig.connect(
        by_model(
            {
                "fast": refusal(429, {"message": "too fast"}, retry_after="17"),
                "bad": refusal(400, {"message": "bad schema", "param": "tools[0]", "code": "bad"}),
                "long": refusal(400, {"message": "128 tokens", "code": "context_length_exceeded"}),
                "odd": refusal(400, {"message": "the key sk-upstream is odd"}),
                "wrong": refusal(401, {"message": "Incorrect API key: sk-up"}),
            }
        )
    )
    told = {}
    for model in ("fast", "bad", "long", "odd", "wrong"):
        told[model] = await rig.post({**CHAT, "model": f"other/{model}"})
    assert told["fast"].headers["retry-after"] == "17"
    assert "too fast" in told["fast"].json["error"]["message"]
    error = told["bad"].json["error"]
    assert (error["message"], error["param"]) == ("bad schema", "tools[0]")
    assert told["long"].json["error"]["code"] == "context_length_exceeded"
    assert "the key *** is odd" in told["odd"].json["error"]["message"]
    assert b"sk-up" not in told["wrong"].body
    assert b"'other'" in told["wrong"].body


async def test_what_is_no_answer_is_their_fault(rig: Rig) -> None:
    said = {"error": {"message": "slow down", "code": 429}}
    overloaded = b'data: {"error": {"message": "no", "type": "overloaded_error"}}\n\n'
    replies = {
        "html": Reply(b"<html>hello</html>", kind="text/html"),
        "nothing": Reply(b""),
        "list": Reply(b"[1, 2]"),
        "other": Reply(b'{"choices": "none"}'),
        "half": Reply(b'{"choices": []'),
        "said": document(said),
        "overloaded": events([overloaded]),
        "broken": events([b"data: {broken\n\n"]),
        "number": events([b"data: 5\n\n"]),
        "comment": events([b": only a comment\n\n"]),
    }
    await rig.connect(by_model(replies))
    for model, reply in replies.items():
        for stream in (False, True):
            if reply.pieces is not None and not stream:
                continue
            answered = await rig.post({**CHAT, "model": f"other/{model}", "stream": stream})
            expected = {"said": 429, "overloaded": 503, "comment": 503}.get(model, 502)
            assert (model, answered.status) == (model, expected)


async def test_a_stream_that_breaks_ends_with_an_error_event(rig: Rig) -> None:
    a = chunk({"content": "a"})
    replies = {
        "error": events([a, b'data: {"error": {"code": 500}}\n\n'], pace=0.01),
        "at once": events([a + b'data: {"error": {"code": 500}}\n\n']),
        "html": events([a, b"data: <html>\n\n"]),
        "short": events([a]),
        "dead": events([a, DONE], pace=0.01, die_after=1),
    }
    await rig.connect(by_model(replies))
    for model in replies:
        answered = await rig.post({**STREAM, "model": f"other/{model}"})
        assert answered.status == 200
        first, last = data(answered.body)
        assert first["choices"][0]["delta"] == {"content": "a"}
        code = "service_unavailable" if model in ("short", "dead") else "upstream_error"
        assert last["error"]["code"] == code
        assert b"[DONE]" not in answered.body
        used = rig.meter.events[-1]
        assert (used.error_code, used.prompt_tokens, used.completion_tokens) == (code, 0, 1)


async def test_a_stream_without_its_last_line_is_whole(rig: Rig) -> None:
    end = chunk({}, "stop").rstrip(b"\n")
    await rig.connect(lambda asked: events([chunk({"content": "a"}), end]))
    answered = await rig.post(STREAM)
    assert answered.body.endswith(DONE)
    (used,) = rig.meter.events
    assert used.error_code is None
    size = len(json.dumps(STREAM))
    assert used.prompt_tokens == size // BYTES_PER_TOKEN, "estimated where nobody counts"
    assert used.completion_tokens == 2


async def test_a_whole_answer_without_counts_is_estimated(rig: Rig) -> None:
    answer = {**fake.completion(CHAT), "usage": {"prompt_tokens": "many", "total_tokens": None}}
    answer["choices"][0]["message"]["content"] = "a" * 300
    await rig.connect(lambda asked: document(answer))
    assert (await rig.post(CHAT)).json == answer
    (used,) = rig.meter.events
    assert used.prompt_tokens == len(json.dumps(CHAT)) // BYTES_PER_TOKEN
    assert used.completion_tokens == 100


async def test_silence_is_a_timeout(rig: Rig) -> None:
    pieces = [chunk({"content": "a"}), DONE]
    stalls = {"gpt-0": 0, "gpt-1": 1}
    await rig.connect(lambda asked: events(pieces, stall_after=stalls[asked.json["model"]]))
    row = await rig.connections.get(rig.tenant.organization_id, "other")
    async with rig.platform.database.begin() as session:
        (await session.merge(row)).timeout = 0.05
    await rig.catalog.refresh()
    answered = await rig.post({**STREAM, "model": "other/gpt-0"})
    assert (answered.status, answered.json["error"]["code"]) == (504, "timeout")
    answered = await rig.post({**STREAM, "model": "other/gpt-1"})
    assert (answered.status, data(answered.body)[-1]["error"]["code"]) == (200, "timeout")


async def test_nobody_there(rig: Rig) -> None:
    provider = await rig.connect(openai)
    await provider.stop()
    answered = await rig.post(CHAT)
    assert (answered.status, answered.json["error"]["code"]) == (503, "service_unavailable")
    assert answered.headers["retry-after"]


async def test_a_caller_who_leaves_stops_the_provider(rig: Rig) -> None:
    pieces = [chunk({"content": "a"}) for _ in range(500)]
    replies = {"stream": events(pieces, pace=0.01), "whole": Reply(b"{}", stall_after=0)}
    provider = await rig.connect(by_model(replies))
    for number, model in enumerate(replies, 1):
        body = {**CHAT, "model": f"other/{model}", "stream": model == "stream"}
        messages = [{"type": "http.request", "body": json.dumps(body).encode()}]

        async def receive(messages: list[Any] = messages, number: int = number) -> Any:
            if messages:
                return messages.pop()
            await happens(lambda: len(provider.asked) == number)
            return {"type": "http.disconnect"}

        await rig.post(b"", receive=receive)
        await happens(lambda number=number: provider.closed == number)
        used = rig.meter.events[-1]
        assert (used.status, used.prompt_tokens > 0) == (499, True)


async def test_aliases_and_virtual_models_lead_to_other_providers(rig: Rig) -> None:
    await rig.connect(openai, models=["gpt-x"])
    broken = await rig.connect(lambda asked: refusal(503), name="broken")
    org, (database, redis) = rig.tenant.organization_id, (rig.platform.database, rig.platform.redis)
    good = Target("other/gpt-x", 1)
    await Aliases(database, redis).create(org, "k", "bot", [good])
    wish = Wish((Target("broken/x", 1), good), system_prompt="Be kind.")
    project = Project(org, rig.tenant.project_id)
    await VirtualModels(database, redis).create(project, "assistant", wish)
    for name in ("bot", "assistant"):
        answered = await rig.post({**CHAT, "model": name})
        assert answered.json["model"] == "gpt-x-1"
        used = rig.meter.events[-1]
        assert (used.model, used.base_model) == (name, "other/gpt-x")
    assert broken.asked[0].json["messages"][0] == {"role": "system", "content": "Be kind."}
    with pytest.raises(ModelNotFound):
        await Aliases(database, redis).create(org, "k", "bot2", [Target("other/gpt-y", 1)])


BEGUN = fake.message_events(CHAT)[0]
OVERLOADED = named("error", error={"type": "overloaded_error", "message": "busy"})
CREATED = named("response.created", response={"status": "in_progress", "output": []})
QUEUED = named("response.in_progress", response={"status": "in_progress", "output": []})
FAILED = named("response.failed", response={"error": {"code": "server_error", "message": "x"}})
PREAMBLES = {
    "overloaded": (events([BEGUN, named("ping"), OVERLOADED]), Protocol.ANTHROPIC),
    "at once": (events([BEGUN + OVERLOADED]), Protocol.ANTHROPIC),
    "stalled": (events([BEGUN, BEGUN], stall_after=1), Protocol.ANTHROPIC),
    "cut": (events([BEGUN]), Protocol.ANTHROPIC),
    "failed": (events([CREATED, QUEUED, FAILED]), Protocol.OPENAI),
    "hung": (events([CREATED, QUEUED], stall_after=1), Protocol.OPENAI),
}


@pytest.mark.parametrize("name", PREAMBLES)
async def test_who_only_begins_has_not_answered(rig: Rig, name: str) -> None:
    reply, protocol = PREAMBLES[name]
    first = await rig.connect(lambda asked: reply, protocol, "first")
    done = named("response.completed", response={"status": "completed", "output": []})
    second = await rig.connect(
        lambda asked: events([done]) if asked.path.endswith("/responses") else openai(asked)
    )
    patience = None if reply.stall_after is None else 0.2
    wish = Wish((Target("first/x", 1), Target("other/gpt-x", 1)), patience=patience)
    project = Project(rig.tenant.organization_id, rig.tenant.project_id)
    models = VirtualModels(rig.platform.database, rig.platform.redis)
    await models.create(project, "both", wish)
    await rig.catalog.refresh()
    asks = {"/v1/responses": {"input": "hi", "store": False}}
    if protocol is Protocol.ANTHROPIC:
        asks = {MESSAGES: {**MESSAGE}, "/v1/chat/completions": {**CHAT}}
    for path, ask in asks.items():
        answered = await rig.post({**ask, "model": "both", "stream": True}, path)
        assert answered.status == 200
        assert b"error" not in answered.body.replace(b'"error":null', b"")
        used = rig.meter.events[-1]
        assert (used.base_model, used.error_code) == ("other/gpt-x", None)
    assert len(second.asked) == len(asks)
    assert patience or len(first.asked) == len(asks)


async def test_what_comes_before_the_first_word_is_passed_on_up_to_a_bound(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MOST_HELD", 5 * len(named("ping")))
    reply = events([named("ping") * 9, named("ping")], stall_after=1)
    await rig.connect(lambda asked: reply, Protocol.ANTHROPIC)
    answered = await rig.post({**MESSAGE, "stream": True}, MESSAGES, leave_after=1)
    assert answered.body == named("ping") * 9


async def test_who_only_ever_begins_is_left_alone(rig: Rig) -> None:
    broken = await rig.connect(lambda asked: events([BEGUN, OVERLOADED]), Protocol.ANTHROPIC)
    body = {**MESSAGE, "stream": True}
    assert {(await rig.post(body, MESSAGES)).status for _ in range(7)} == {503}
    assert len(broken.asked) == 5


async def test_a_removed_connection_answers_nobody(rig: Rig) -> None:
    provider = await rig.connect(openai)
    who = rig.tenant.organization_id
    await rig.connections.change(who, "k", "other", Change(enabled=False))
    await rig.catalog.refresh()
    assert (await rig.post(CHAT)).json["error"]["code"] == "model_not_found"
    await rig.connections.remove(who, "other")
    await rig.catalog.refresh()
    assert (await rig.post(CHAT)).json["error"]["code"] == "model_not_found"
    assert provider.asked == []


async def test_another_secret_holds_from_the_next_request_on(rig: Rig) -> None:
    provider = await rig.connect(openai)
    who = rig.tenant.organization_id
    assert (await rig.post(CHAT)).status == 200
    await rig.connections.rotate(who, "k", "other", "sk-wrong")
    await rig.catalog.refresh()
    answered = await rig.post(CHAT)
    assert answered.json["error"]["code"] == "upstream_authentication_failed"
    assert provider.asked[-1].headers["authorization"] == "Bearer sk-wrong"


async def test_more_headers_of_a_connection(rig: Rig) -> None:
    provider = await rig.connect(openai, headers={"Api-Key": "k", "OpenAI-Organization": "acme"})
    await rig.post(CHAT)
    assert provider.asked[0].headers["openai-organization"] == "acme"
    assert provider.asked[0].headers["authorization"] == "Bearer sk-upstream"


async def test_one_that_keeps_failing_is_left_alone_for_a_while(rig: Rig) -> None:
    broken = await rig.connect(lambda asked: refusal(500))
    statuses = [(await rig.post(CHAT)).status for _ in range(8)]
    assert statuses == [502] * 5 + [503] * 3
    assert len(broken.asked) == 5
    left = await rig.post(CHAT)
    assert "has failed or refused too often" in left.json["error"]["message"]
    assert int(left.headers["retry-after"]) >= 1
    assert (await rig.post({**CHAT, "model": "other/gpt-y"})).status == 502, "by model"


async def test_a_request_that_is_not_sent_is_no_success_of_the_provider(rig: Rig) -> None:
    broken = await rig.connect(lambda asked: refusal(500))
    for _ in range(4):
        await rig.post(CHAT)
    wrong = {"model": "other/gpt-x", "messages": [], "max_tokens": 1}
    assert (await rig.post(wrong, "/v1/messages/count_tokens")).status == 400
    assert (await rig.post(CHAT)).status == 502
    assert (await rig.post(CHAT)).status == 503, "five in a row"
    assert len(broken.asked) == 5


async def test_what_a_provider_repeats_of_secrets_is_told_nobody(rig: Rig) -> None:
    said = {"error": {"message": "sk-upstream and k-in-a-header and k-behind-a-word: no"}}
    event = b"data: " + json.dumps(said).encode() + b"\n\n"
    replies = {
        "whole": document(said, status=400),
        "first": events([event]),
        "later": events([chunk({"content": "a"}), event], pace=0.01),
    }
    await rig.connect(
        lambda asked: (
            document(said, status=500) if asked.path == "/v1/models" else
            replies[asked.json["model"]]
        ),
        headers={"Api-Key": "k-in-a-header", "X-Auth": "Bearer k-behind-a-word", "X-Any": "no"},
    )  # fmt: skip
    for model in replies:
        answered = await rig.post({**STREAM, "model": f"other/{model}"})
        assert b"*** and *** and ***: no" in answered.body, model
        assert b"sk-upstream" not in answered.body
    row = await rig.connections.get(rig.tenant.organization_id, "other")
    probe = await rig.providers.probe(compose(row))
    assert probe.error is not None
    assert "*** and *** and ***: no" in probe.error.message


async def test_a_list_of_models_is_bounded_in_time_and_size(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = [Reply(pieces=(b" ",) * 10_000, pace=0.01), Reply(b" " * 5 * 2**20)]
    await rig.connect(lambda asked: replies.pop(0))
    row = await rig.connections.get(rig.tenant.organization_id, "other")
    monkeypatch.setattr(providers, "PROBE_TIME", 0.1)
    slow = await rig.providers.probe(compose(row))
    monkeypatch.setattr(providers, "PROBE_TIME", 30.0)
    long = await rig.providers.probe(compose(row))
    errors = [each.error.code for each in (slow, long) if each.error is not None]
    assert errors == ["timeout", "upstream_error"]


async def test_requests_to_a_silent_provider_are_bounded_and_others_go_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "MAX_IN_FLIGHT", 2)
    silent = await rig.connect(lambda asked: Reply(b"{}", stall_after=0))
    await rig.connect(openai, name="quick")
    waiting = [asyncio.create_task(rig.post(CHAT)) for _ in range(2)]
    await happens(lambda: len(silent.asked) == 2)
    for _ in range(6):  # more than the failures that would open its breaker
        refused = await rig.post(CHAT)
        assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"]
    for _ in range(3):
        for stream in (False, True):
            asked = {**CHAT, "model": "quick/gpt-x", "stream": stream}
            assert (await rig.post(asked)).status == 200
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    again = asyncio.create_task(rig.post(CHAT))
    await happens(lambda: len(silent.asked) == 3)
    again.cancel()
