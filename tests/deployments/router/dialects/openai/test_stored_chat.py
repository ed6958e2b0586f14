"""Chat completions with `store` through the pipeline, and the routes that find them again."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from cluster.catalog.split import Target
from cluster.catalog.virtual_models import Project, VirtualModels, Wish
from cluster.errors import Unavailable
from cluster.stored import saver
from cluster.stored.completions import Completions
from cluster.stored.saver import Saver
from cluster.tenancy.principal import Scope
from deployments.router.dialects.openai.keep_chat import KeepChat
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.stored import client
from tests.deployments.router.fake_engine import Behaviour

PATH = "/v1/chat/completions"
ASK: dict[str, Any] = {
    "model": "budgie", "messages": [{"role": "user", "content": "hi"}], "store": True,
    "metadata": {"run": "a"},
}  # fmt: skip
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
HEAD = {"id": "chatcmpl-req_1", "created": 1, "model": "budgie"}
ANSWER = {
    **HEAD, "object": "chat.completion", "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ab"},
                 "logprobs": None, "finish_reason": "stop"}],
}  # fmt: skip


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **more}
    told = {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"


COUNTS = json.dumps({**HEAD, "choices": [], "usage": USAGE}, separators=(",", ":")).encode()
STREAM = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": "b"}),
    chunk({}, finish_reason="stop"),
    b"data: " + COUNTS + b"\n\n",
    b"data: [DONE]\n\n",
)
WHOLE = (json.dumps(ANSWER).encode(),)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shown", [False, True])
async def test_the_id_that_the_caller_saw_finds_it(rig: Rig, stream: bool, shown: bool) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=STREAM if stream else WHOLE, pace=0.001)
    more = {"stream": True, "stream_options": {"include_usage": shown}} if stream else {}
    answered = await rig.post({**ASK, **more}, PATH)
    if stream:
        assert answered.body == b"".join(STREAM if shown else (*STREAM[:4], STREAM[5]))
    else:
        assert answered.body == WHOLE[0], "its caller's answer stays as it is"
    (asked,) = rig.engines[0].requests
    assert "store" not in asked, "here is the store, not in the engine or at a provider"
    assert "metadata" not in asked
    (used,) = rig.meter.events
    async with client(rig) as http:
        stored = await http.chat.completions.retrieve("chatcmpl-req_1")
        told = stored.to_dict()
        assert told["choices"] == ANSWER["choices"]
        assert told["usage"]["total_tokens"] == 9  # type: ignore[index]
        assert {"object": "chat.completion", "metadata": {"run": "a"}}.items() <= told.items()
        assert told["request_id"] == used.request_id
        messages = await http.chat.completions.messages.list("chatcmpl-req_1")
        assert [message.to_dict() for message in messages.data] == [
            {"id": "chatcmpl-req_1-0", "role": "user", "content": "hi", "content_parts": None}
        ]


async def test_only_who_asks_for_it_has_it_stored(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)
    for store in ({}, {"store": False}, {"store": None}):
        asked = {key: value for key, value in ASK.items() if key != "store"}
        assert (await rig.post({**asked, **store}, PATH)).status == 200
    async with client(rig) as http:
        assert (await http.chat.completions.list()).data == []


async def test_a_list_by_its_labels_and_what_changes_them(rig: Rig) -> None:
    engine = await rig.add_engine()
    for number, run in enumerate("aba"):
        engine.behaviour = Behaviour(script=(json.dumps({**ANSWER, "id": f"c{number}"}).encode(),))
        await rig.post({**ASK, "metadata": {"run": run}, "temperature": 0.5}, PATH)
    async with client(rig, Scope.READ, Scope.INFERENCE) as http:
        chat = http.chat.completions
        assert [one.id async for one in chat.list(limit=2)] == ["c0", "c1", "c2"]
        assert [one.id async for one in chat.list(metadata={"run": "a"}, order="desc")] == [
            "c2", "c0",
        ]  # fmt: skip
        assert [one.id async for one in chat.list(model="nobody")] == []
        changed = await chat.update("c0", metadata={"run": "c"})
        assert changed.to_dict()["metadata"] == {"run": "c"}
        assert changed.to_dict()["temperature"] == 0.5
        assert [one.id async for one in chat.list(metadata={"run": "c"})] == ["c0"]
        assert (await chat.delete("c0")).object == "chat.completion.deleted"
        with pytest.raises(openai.NotFoundError):
            await chat.retrieve("c0")
        for wrong, param in (
            (chat.update("c1", metadata={"k" * 65: ""}), "metadata"),
            (chat.update("c1", metadata={}, extra_body={"model": "x"}), "model"),
            (chat.list(extra_query={"colour": "red"}), "colour"),
            (chat.list(limit=0), "limit"),
            (chat.list(after="nobody"), "after"),
            (chat.messages.list("c1", after="nobody"), "after"),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await wrong
            assert refused.value.param == param
    async with client(rig, Scope.READ) as reader:
        with pytest.raises(openai.PermissionDeniedError):
            await reader.chat.completions.delete("c1")
    async with client(rig, organization_id="other") as stranger:
        assert (await stranger.chat.completions.list()).data == []


async def test_a_virtual_models_prompt_is_not_among_the_messages(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)
    platform, tenant = rig.platform, rig.tenant
    await VirtualModels(platform.database, platform.redis).create(
        Project(tenant.organization_id, tenant.project_id),
        "helper",
        Wish((Target("budgie", 1.0),), system_prompt="Secret."),
    )
    await rig.catalog.refresh()
    await rig.post({**ASK, "model": "helper"}, PATH)
    assert rig.engines[0].requests[0]["messages"][0]["content"] == "Secret."
    async with client(rig) as http:
        (message,) = (await http.chat.completions.messages.list("chatcmpl-req_1")).data
        assert message.content == "hi"


async def test_parts_of_a_message_are_listed_as_parts(rig: Rig) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)
    parts = [{"type": "text", "text": "hi"}]
    await rig.post({**ASK, "messages": [{"role": "user", "content": parts}]}, PATH)
    async with client(rig) as http:
        (message,) = (await http.chat.completions.messages.list("chatcmpl-req_1")).data
        assert message.content is None
        assert message.to_dict()["content_parts"] == parts


async def test_what_is_refused_is_named(rig: Rig) -> None:
    await rig.add_engine()
    for more, param in (
        ({"store": "yes"}, "store"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ):
        answered = await rig.post({**ASK, **more}, PATH)
        assert (answered.status, answered.json["error"]["param"]) == (400, param)
    assert rig.engines[0].requests == []


async def test_an_answer_without_an_id_is_given_and_not_stored(rig: Rig) -> None:
    engine = await rig.add_engine()
    for answer in ({**ANSWER, "id": "i" * 256}, {"choices": []}):
        engine.behaviour = Behaviour(script=(json.dumps(answer).encode(),))
        assert (await rig.post(ASK, PATH)).json == answer
    async with client(rig) as http:
        assert (await http.chat.completions.list()).data == []


async def test_what_breaks_off_is_not_stored(rig: Rig) -> None:
    engine = await rig.add_engine()
    broken = Behaviour(script=STREAM, pace=0.02, die_after=3)
    failed = b'data: {"error": {"message": "it died", "code": 500}}\n\n'
    told = Behaviour(script=(*STREAM[:2], failed, STREAM[-1]), pace=0.02)
    for behaviour in (broken, told):
        engine.behaviour = behaviour
        await rig.post({**ASK, "stream": True}, PATH)
    async with client(rig) as http:
        assert (await http.chat.completions.list()).data == []


@pytest.mark.parametrize("strange", [
    {"choices": None}, {"choices": [1]}, {"choices": [{"delta": {"content": ["a"]}}]},
])  # fmt: skip
async def test_a_stream_that_can_not_be_put_together_is_given_all_the_same(
    rig: Rig, strange: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    piece = b"data: " + json.dumps({**HEAD, **strange}, separators=(",", ":")).encode() + b"\n\n"
    (await rig.add_engine()).behaviour = Behaviour(
        script=(*STREAM[:2], piece, *STREAM[2:]), pace=0.001
    )
    answered = await rig.post({**ASK, "stream": True}, PATH)
    assert answered.body == b"".join((*STREAM[:2], piece, *STREAM[2:4], STREAM[5]))
    assert "is not stored" in caplog.text
    async with client(rig) as http:
        assert (await http.chat.completions.list()).data == []


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_larger_than_a_body_may_be_is_given_and_not_stored(
    rig: Rig, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    script = STREAM if stream else WHOLE
    (await rig.add_engine()).behaviour = Behaviour(script=script, pace=0.001)
    for step in rig.pipelines[PATH]._steps:
        if isinstance(step, KeepChat):
            step._max_bytes = len(b"".join(script)) // 2
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    assert (await rig.post({**ASK, **more}, PATH)).body == b"".join(script)
    assert "is not stored" in caplog.text
    async with client(rig) as http:
        assert (await http.chat.completions.list()).data == []


async def test_a_store_that_is_away_is_told_before_anything_is_made(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)

    async def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Saver, "reach", away)
    answered = await rig.post(ASK, PATH)
    assert (answered.status, answered.headers["retry-after"]) == (503, "2")
    assert rig.engines[0].requests == []


async def test_a_store_that_goes_away_meanwhile_costs_no_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (await rig.add_engine()).behaviour = Behaviour(script=WHOLE)

    async def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Completions, "add", away)
    monkeypatch.setattr(saver, "PAUSE", 0.001)
    for step in rig.pipelines[PATH]._steps:
        if hasattr(step, "_saver"):
            step._saver._patience = 0.01
    answered = await rig.post(ASK, PATH)
    assert (answered.status, answered.body) == (200, WHOLE[0])
