"""OpenAI's and Anthropic's own SDKs for Python: what test_chat.py does not yet ask of them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel, Field

from cluster.tenancy.principal import Scope
from tests.product.product import Product, wait_for
from tests.product.tenants import new_key

WEATHER = "What is the weather in Oslo?"


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int


def tool(name: str, **parameters: dict[str, Any]) -> dict[str, Any]:
    """`strict` binds the arguments to their schema; without it they are any JSON."""
    schema = {
        "type": "object",
        "properties": parameters,
        "required": list(parameters),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}


NUMBER = {"type": "integer"}
TOOLS = [
    tool("get_weather", city={"type": "string", "maxLength": 20}),
    tool("add_numbers", a=NUMBER, b=NUMBER),
]


def asking(content: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "budgie", "messages": messages, "temperature": 0, "max_tokens": 64, **more}


def called(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    calls = answer.choices[0].message.tool_calls or []
    assert all(isinstance(call, ChatCompletionMessageFunctionToolCall) for call in calls)
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def test_a_model_may_call_a_tool_or_not(product: Product) -> None:
    chat = product.openai().chat.completions
    answer = chat.create(**asking(WEATHER, tools=TOOLS))
    assert called(answer) == [("get_weather", {"city": "Oslo"})]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert called(chat.create(**asking(WEATHER, tools=TOOLS, tool_choice="none"))) == []
    result = {"role": "tool", "tool_call_id": "c1", "content": '{"weather": "sunny"}'}
    call = answer.choices[0].message.to_dict()
    turns = [{"role": "user", "content": WEATHER}, call, result]
    said = chat.create(**{**asking("", tools=TOOLS), "messages": turns}).choices[0].message.content
    assert "sunny" in (said or "")


@pytest.mark.parametrize(
    ("question", "choice", "expected", "parameters"),
    [
        (WEATHER, "required", {"get_weather", "add_numbers"}, None),
        (WEATHER, "add_numbers", {"add_numbers"}, {"a": int, "b": int}),
        ("Hello!", "get_weather", {"get_weather"}, {"city": str}),
        ("Hello!", "required", {"get_weather", "add_numbers"}, None),
    ],
)
def test_a_tool_that_must_be_called_is_called_with_its_arguments(
    product: Product,
    question: str,
    choice: str,
    expected: set[str],
    parameters: dict[str, type] | None,
) -> None:
    named: Any = {"type": "function", "function": {"name": choice}}
    asked = asking(
        question, tools=TOOLS, tool_choice=choice if choice == "required" else named,
        max_tokens=256,
    )  # fmt: skip
    chat = product.openai().chat.completions
    whole = called(chat.create(**asked))
    assert {name for name, _ in whole} <= expected
    assert whole
    if parameters is not None:
        ((_, arguments),) = whole
        assert {name: type(value) for name, value in arguments.items()} == parameters
    with chat.stream(**asked) as stream:
        assert called(stream.get_final_completion()) == whole


def test_the_sdk_parses_what_a_schema_binds(product: Product) -> None:
    person = "Extract name and age as JSON: Mia is 7 years old."
    chat = product.openai().chat.completions
    answer = chat.parse(**asking(person), response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Mia", age=7)
    with chat.stream(**asking(person), response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Person(name="Mia", age=7)


@pytest.mark.parametrize(
    ("bound", "allowed"),
    [
        ({"choice": ["left", "right"]}, {"left", "right"}),
        ({"regex": "(ab|cd)"}, {"ab", "cd"}),
        ({"grammar": 'root ::= "yes" | "no"'}, {"yes", "no"}),
        ({"json": {"enum": [1, 2]}}, {"1", "2"}),
    ],
)
def test_vllms_constraints_bind_the_answer(
    product: Product, bound: dict[str, Any], allowed: set[str]
) -> None:
    asked = asking("Hello!", extra_body={"structured_outputs": bound})
    answer = product.openai().chat.completions.create(**asked)
    assert answer.choices[0].message.content in allowed
    text = product.openai().completions.create(
        model="budgie", prompt="Hello", max_tokens=8, extra_body={"structured_outputs": bound}
    )
    assert text.choices[0].text in allowed


ODD = {
    "a factor": {"type": "integer", "multipleOf": 5},
    "patterns beside properties": {
        "type": "object",
        "patternProperties": {"a": {"type": "integer"}},
        "properties": {"b": {"type": "integer"}},
    },
    "look-ahead": {"type": "string", "maxLength": 9, "pattern": "(?=a)b"},
}


@pytest.mark.parametrize("odd", ODD)
def test_a_schema_that_the_engine_can_not_bind_to_is_refused(product: Product, odd: str) -> None:
    """Not taken by another backend, which all other requests would then have to use."""
    form = {"type": "json_schema", "json_schema": {"name": "odd", "schema": ODD[odd]}}
    with pytest.raises(openai.BadRequestError) as refused:
        product.openai().chat.completions.create(**asking("Hello!", response_format=form))
    assert refused.value.param == "response_format"
    chosen = asking("Hello!", extra_body={"structured_outputs": {"choice": ["left", "right"]}})
    answer = product.openai().chat.completions.create(**chosen)
    assert answer.choices[0].message.content in ("left", "right")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "bound",
    [
        {"response_format": {"type": "json_schema", "json_schema": {
            "name": "loop", "schema": {"$ref": "#"}}}},
        {"structured_outputs": {"grammar": "root ::= root"}},
        {"tools": [{"type": "function", "function": {
            "name": "f", "parameters": {"$ref": "#"}}}], "tool_choice": "required"},
    ],
)  # fmt: skip
def test_what_no_text_satisfies_is_the_callers_mistake(
    product: Product, bound: dict[str, Any], stream: bool
) -> None:
    with product.http as http:
        answer = http.post(
            "/v1/chat/completions", json={**asking("Hello!"), **bound, "stream": stream}
        )
    if answer.status_code == 200:  # the engine found it after the first event had left
        assert stream
        told = next(line for line in answer.text.splitlines() if '"error"' in line)
        error = json.loads(told.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 400
        error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert product.is_ready()


def test_answers_to_prompts_in_every_form(product: Product) -> None:
    client = product.openai()
    with product.http as http:
        tokens = http.post("/tokenize", json={"model": "budgie", "prompt": "One two"}).json()
    for prompt in ("One two", ["One two"], tokens["tokens"], [tokens["tokens"]]):
        answer = client.completions.create(
            model="budgie", prompt=prompt, max_tokens=3, echo=True, logprobs=1, temperature=0, n=2
        )
        assert len(answer.choices) == 2
        assert answer.choices[0].text.startswith("One two")
        probabilities = answer.choices[0].logprobs
        assert probabilities is not None
        assert probabilities.tokens is not None
        # The token that ends an answer is counted and has no text.
        assert "".join(probabilities.tokens).removesuffix("<|end|>") == answer.choices[0].text
    stream = client.completions.create(
        model="budgie", prompt=["One two", "Red blue"], max_tokens=4, stream=True
    )
    assert {choice.index for chunk in stream for choice in chunk.choices} == {0, 1}


def test_embeddings_as_the_sdk_asks_by_itself(product: Product) -> None:
    """In base64, which it decodes; a caller who wants numbers gets the same."""
    client, texts = product.openai(), ["one", "two"]
    model = "all-MiniLM-L6-v2"
    coded = client.embeddings.create(model=model, input=texts)
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
    for a, b in zip(coded.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-6)


def test_errors_are_the_sdks_own_classes(product: Product) -> None:
    client = product.openai()
    with pytest.raises(openai.AuthenticationError) as unknown:
        product.openai(api_key="sk-wrong").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**{**asking("a"), "model": "nobody"})
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(**asking("a", top_p=5))
    assert wrong.value.param == "top_p"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="budgie", prompt="word " * 4000)
    assert long.value.code == "context_length_exceeded"
    reading = product.openai(api_key=new_key(product, [Scope.READ]))
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        reading.chat.completions.create(**asking("a"))
    assert forbidden.value.code == "permission_denied"
    limited = new_key(product, [Scope.INFERENCE], {"requests_per_minute": 1})
    product.openai(api_key=limited).chat.completions.create(**asking("a", max_tokens=1))
    with pytest.raises(openai.RateLimitError) as many:
        product.openai(api_key=limited).chat.completions.create(**asking("a"))
    assert many.value.code == "rate_limit_exceeded"
    assert 1 <= int(many.value.response.headers["retry-after"]) <= 60


async def test_a_stream_that_is_left_stops_and_leaves_the_client_usable(product: Product) -> None:
    client = product.aopenai()
    endless = {"min_tokens": 1900, "ignore_eos": True}
    stream = await client.chat.completions.create(
        **asking("Hello!", stream=True) | {"max_tokens": 1900}, extra_body=endless
    )
    seen = 0
    async for _ in stream:
        seen += 1
        if seen == 3:
            break
    await stream.close()
    wait_for(lambda: product.replica()["running"] == 0, "the generation to stop", 30)
    again = await client.chat.completions.create(**asking("Hello!"))
    assert again.choices[0].message.content
    await client.close()


def test_files_and_jobs_are_listed_page_by_page(product: Product) -> None:
    client = product.openai(api_key=new_key(product, [Scope.TRAIN, Scope.READ]))
    line = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    made = [
        client.files.create(file=(f"{n}.jsonl", line), purpose="fine-tune").id for n in range(3)
    ]
    listed = [file.id for file in client.files.list(limit=2)]
    assert sorted(listed) == sorted(made), "the SDK asks for the second page by itself"
    assert client.files.content(made[0]).read() == line
    for file in made:
        assert client.files.delete(file).deleted
    assert list(client.files.list()) == []
    assert list(client.fine_tuning.jobs.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-none")
    with pytest.raises(openai.NotFoundError) as wrong:
        client.fine_tuning.jobs.create(model="budgie", training_file="file-none")
    assert wrong.value.param == "training_file"


def claude(product: Product) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=product.url, api_key=product.key, max_retries=0)


ANTHROPICS: dict[str, Any] = {
    "model": "budgie",
    "max_tokens": 64,
    "extra_body": {"temperature": 0},
    "tools": [
        {
            "name": "get_weather",
            "input_schema": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 20}},
                "required": ["city"],
            },
        }
    ],
}


def test_anthropics_client_calls_tools(product: Product) -> None:
    client = claude(product)
    question: Any = [{"role": "user", "content": WEATHER}]
    whole = client.messages.create(messages=question, **ANTHROPICS)
    assert whole.stop_reason == "tool_use"
    (call,) = [block for block in whole.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("get_weather", {"city": "Oslo"})
    with client.messages.stream(messages=question, **ANTHROPICS) as stream:
        kinds = [event.type for event in stream]
        (streamed,) = [b for b in stream.get_final_message().content if b.type == "tool_use"]
    assert (streamed.name, streamed.input) == (call.name, call.input)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    answer = {"type": "tool_result", "tool_use_id": call.id, "content": '{"weather": "sunny"}'}
    turns: Any = [
        *question,
        {"role": "assistant", "content": [block.to_dict() for block in whole.content]},
        {"role": "user", "content": [answer]},
    ]
    said = client.messages.create(messages=turns, **ANTHROPICS)
    assert "sunny" in said.content[0].text


def test_anthropics_client_forces_a_tool(product: Product) -> None:
    schema = {"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]}
    asked = {**ANTHROPICS, "tools": [{"name": "add_numbers", "input_schema": schema}]}
    forced = claude(product).messages.create(
        messages=[{"role": "user", "content": WEATHER}],
        tool_choice={"type": "tool", "name": "add_numbers"},
        **asked,
    )
    (call,) = [block for block in forced.content if block.type == "tool_use"]
    assert (call.name, call.input.keys()) == ("add_numbers", {"a", "b"})


def test_anthropics_client_lists_models_and_knows_a_limit(product: Product) -> None:
    assert "budgie" in [model.id for model in claude(product).models.list()]
    key = new_key(product, [Scope.INFERENCE], {"requests_per_minute": 0})
    with pytest.raises(anthropic.RateLimitError):
        claude(product).with_options(api_key=key).messages.create(
            model="budgie", max_tokens=4, messages=[{"role": "user", "content": "a"}]
        )
