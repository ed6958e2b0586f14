"""Responses and stored chat completions on the real engine, through the OpenAI SDK."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import openai
import pytest

from cluster.settings import Settings
from cluster.store.redis import connect
from cluster.store.sql import Database
from cluster.tenancy.bootstrap import UNLIMITED_PLAN
from cluster.tenancy.keys import Keys
from cluster.tenancy.organizations import Organizations
from cluster.tenancy.principal import Scope
from tests.markdown import Page
from tests.product.product import ROOT, Product

COUNT = "Count from 1 to 9."
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def respond(client: openai.OpenAI, said: Any, **more: Any) -> Any:
    asked = {"temperature": 0, "max_output_tokens": 48, **more}
    return client.responses.create(model="budgie", input=said, **asked)


def test_a_response_is_made_read_again_and_continued(product: Product) -> None:
    client = product.openai()
    first = respond(client, COUNT, metadata={"run": "a"})
    assert (first.status, first.model, first.metadata) == ("completed", "budgie", {"run": "a"})
    assert first.output_text
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    assert client.responses.retrieve(first.id).to_dict() == first.to_dict()

    second = respond(client, "Hello!", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    third = respond(client, "Hello!", previous_response_id=second.id)
    alone = respond(client, "Hello!", store=False)
    assert alone.usage.input_tokens < second.usage.input_tokens < third.usage.input_tokens
    by_hand = respond(
        client,
        [{"role": "user", "content": COUNT}, *first.to_dict()["output"],
         {"role": "user", "content": "Hello!"}],
    )  # fmt: skip
    assert by_hand.usage.input_tokens == second.usage.input_tokens
    assert by_hand.output_text == second.output_text

    items = list(client.responses.input_items.list(third.id, order="asc", limit=2))
    assert [item.to_dict()["role"] for item in items] == [  # type: ignore[union-attr]
        "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as gone:
        respond(client, "Hello!", previous_response_id=third.id)
    assert gone.value.code == "previous_response_not_found"


def test_a_stream_is_the_same_answer_and_can_be_continued_at_once(product: Product) -> None:
    client = product.openai()
    whole = respond(client, COUNT)
    events = list(respond(client, COUNT, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1].response
    assert text == last.output_text == whole.output_text
    details = last.usage.to_dict()["input_tokens_details"]
    assert last.usage.to_dict() == {
        **whole.usage.to_dict(), "input_tokens_details": details,
    }  # fmt: skip
    assert {event.response.id for event in (events[0], events[1])} == {last.id}
    assert client.responses.retrieve(last.id).to_dict() == last.to_dict()
    assert respond(client, "Hello!", previous_response_id=last.id).status == "completed"

    with client.responses.stream(model="budgie", input=COUNT, temperature=0) as helper:
        assert helper.get_final_response().output_text.startswith(text[:8])
    cut = list(respond(client, COUNT, stream=True, max_output_tokens=2))[-1]
    assert (cut.type, cut.response.status) == ("response.incomplete", "incomplete")
    assert cut.response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_goes_back(product: Product, stream: bool) -> None:
    client = product.openai()
    made = respond(
        client,
        "What is the weather in Oslo?",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "get_weather"},
        stream=stream,
    )
    answer = list(made)[-1].response if stream else made
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert "city" in json.loads(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"degrees": 4}'}
    after = respond(client, [result], tools=[TOOL], previous_response_id=answer.id)
    assert after.usage.input_tokens > answer.usage.input_tokens
    kinds = [item.type for item in client.responses.input_items.list(after.id, order="asc")]
    assert kinds == ["message", "function_call", "function_call_output"]


def test_structured_output_and_instructions(product: Product) -> None:
    client = product.openai()
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = respond(
        client,
        "Extract name and age as JSON: Mia is 7 years old.",
        instructions="Answer in JSON.",
        text={"format": {"type": "json_schema", "name": "p", "schema": schema, "strict": True}},
        max_output_tokens=96,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    assert set(json.loads(answer.output_text)) == {"name", "age"}
    assert answer.text.format.to_dict()["schema"] == schema
    (message,) = answer.output
    assert len(message.content[0].logprobs[0].top_logprobs) == 2
    assert answer.instructions == "Answer in JSON."
    assert client.responses.retrieve(answer.id).to_dict() == answer.to_dict()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"extra_body": {"colour": 1}}, "colour"),
        ({"temperature": "hot"}, "temperature"),
        ({"text": {"format": {"type": "poem"}}}, None),
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
        ({"input": "word " * 4000}, "input"),
    ],
)
def test_what_is_refused_is_named(
    product: Product, more: dict[str, Any], param: str | None
) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as refused:
        product.openai().responses.create(**{"model": "budgie", "input": "Hello!", **more})
    if param is not None:
        assert refused.value.param == param


async def key_of_another_organization(home: Path) -> str:
    """Made in the product's own stores: nobody makes organizations over HTTP."""
    settings = Settings(home=home)
    database, redis = Database(settings.sql_url), connect(settings.redis)
    slug = f"other-{secrets.token_hex(4)}"
    made = await Organizations(database).create("Other", slug, UNLIMITED_PLAN)
    key = await Keys(database, redis).create(
        made.organization.id, made.project.id, "other", [Scope.INFERENCE]
    )
    await redis.aclose()
    await database.close()
    return key.secret


def test_what_is_stored_is_the_organizations(product: Product) -> None:
    client, chat = product.openai(), {"messages": [{"role": "user", "content": COUNT}]}
    response = respond(client, COUNT)
    completion = client.chat.completions.create(
        model="budgie",
        max_tokens=8,
        store=True,
        **chat,  # type: ignore[call-overload]
    )
    secret = asyncio.run(key_of_another_organization(product.home))
    other = client.with_options(api_key=secret)
    for foreign in (
        lambda: other.responses.retrieve(response.id),
        lambda: other.responses.delete(response.id),
        lambda: other.responses.input_items.list(response.id),
        lambda: respond(other, "Hello!", previous_response_id=response.id),
        lambda: other.chat.completions.retrieve(completion.id),
        lambda: other.chat.completions.messages.list(completion.id),
        lambda: other.chat.completions.delete(completion.id),
    ):
        with pytest.raises(openai.NotFoundError):
            foreign()
    assert list(other.chat.completions.list()) == []
    assert client.responses.retrieve(response.id).id == response.id


def test_chat_completions_are_stored_where_their_caller_wants_it(product: Product) -> None:
    client, run = product.openai(), secrets.token_hex(4)
    asked: dict[str, Any] = {
        "model": "budgie", "max_tokens": 24, "n": 2, "logprobs": True, "top_logprobs": 1,
        "messages": [{"role": "user", "content": COUNT}],
    }  # fmt: skip
    chat = client.chat.completions
    whole = chat.create(**asked, store=True, metadata={"run": run, "kind": "whole"})
    chunks = list(
        chat.create(**asked, store=True, metadata={"run": run, "kind": "stream"}, stream=True)
    )
    unstored = chat.create(**asked)
    listed = list(chat.list(metadata={"run": run}, limit=1))
    assert [one.id for one in listed] == [whole.id, chunks[0].id]
    stored, streamed = listed
    assert stored.to_dict()["choices"] == whole.to_dict()["choices"]
    assert streamed.usage is not None
    assert streamed.usage.completion_tokens > 2
    for choice in streamed.choices:
        deltas = [one for chunk in chunks for one in chunk.choices if one.index == choice.index]
        text = "".join(one.delta.content or "" for one in deltas)
        assert choice.message.content == text
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert "".join(token.token for token in choice.logprobs.content).startswith(text)
        assert choice.finish_reason == deltas[-1].finish_reason
    assert [choice.index for choice in streamed.choices] == [0, 1]
    with pytest.raises(openai.NotFoundError):
        chat.retrieve(unstored.id)

    (message,) = chat.messages.list(whole.id).data
    assert (message.role, message.content) == ("user", COUNT)
    chat.update(whole.id, metadata={"run": run, "kind": "other"})
    (found,) = chat.list(metadata={"run": run, "kind": "other"}).data
    assert found.to_dict()["metadata"] == {"run": run, "kind": "other"}
    for one in listed:
        assert chat.delete(one.id).deleted
    assert list(chat.list(metadata={"run": run})) == []


def test_a_streamed_tool_call_is_stored_as_it_was_called(product: Product) -> None:
    chat = product.openai().chat.completions
    function = {key: value for key, value in TOOL.items() if key != "type"}
    chunks = list(
        chat.create(
            model="budgie",
            messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
            tools=[{"type": "function", "function": function}],  # type: ignore[list-item]
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            temperature=0,
            store=True,
            stream=True,
        )
    )
    stored = chat.retrieve(chunks[0].id)
    (call,) = stored.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)
    chat.delete(stored.id)


def test_the_examples_of_the_documentation_work(product: Product) -> None:
    code = "\n".join(Page(ROOT / "docs" / "responses.md").blocks("python"))
    for written, here in (("http://127.0.0.1:8000", product.url), ("lk-...", product.key)):
        assert code.count(written) == 1
        code = code.replace(written, here)
    scope: dict[str, Any] = {}
    exec(code, scope)
    with pytest.raises(openai.NotFoundError):
        scope["client"].responses.retrieve(scope["first"].id)
    with pytest.raises(openai.NotFoundError):
        scope["chat"].retrieve(scope["answer"].id)
