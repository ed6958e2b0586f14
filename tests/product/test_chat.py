"""The OpenAI surface on the real engine, through the OpenAI SDK and by hand."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import Any

import httpx
import openai
import pytest

from tests.product.product import Product, ask, wait_for

HELLO = [{"role": "user", "content": "Hello!"}]


def test_health_and_readiness(product: Product) -> None:
    assert httpx.get(f"{product.url}/healthz").json() == {"status": "ok"}
    answer = httpx.get(f"{product.url}/readyz")
    assert answer.json() == {"status": "ready"}
    assert answer.headers["x-request-id"]


def test_models_are_listed_and_found_by_name_and_alias(product: Product) -> None:
    client = product.openai()
    names = [model.id for model in client.models.list()]
    assert {"budgie", "sentence-transformers/all-MiniLM-L6-v2"} <= set(names)
    assert len(names) == len(set(names))
    assert client.models.retrieve("budgie").id == "budgie"
    long = client.models.retrieve("sentence-transformers/all-MiniLM-L6-v2")
    assert client.models.retrieve("all-MiniLM-L6-v2").id == long.id
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("no/such:model")
    assert missing.value.code == "model_not_found"


def test_chat_with_its_parameters(product: Product) -> None:
    client = product.openai()
    answer = client.chat.completions.create(
        model="budgie", messages=HELLO, n=2, max_tokens=8, seed=1, logprobs=True, top_logprobs=2
    )
    assert answer.model == "budgie"
    assert len(answer.choices) == 2
    first = answer.choices[0].logprobs
    assert first is not None
    assert first.content is not None
    assert len(first.content[0].top_logprobs) == 2
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_equals_the_answer_at_once(product: Product) -> None:
    client = product.openai()
    whole = ask(client, "budgie", "Count from 1 to 9.")
    stream = client.chat.completions.create(
        model="budgie",
        messages=[{"role": "user", "content": "Count from 1 to 9."}],
        temperature=0,
        max_tokens=48,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_stop_sequences_end_the_text(product: Product) -> None:
    client = product.openai()
    whole = ask(client, "budgie", "Count from 1 to 9.")
    stop = whole[len(whole) // 2]
    cut = ask(client, "budgie", "Count from 1 to 9.", stop=[stop])
    assert cut == whole.split(stop)[0]


def test_structured_output_keeps_its_schema(product: Product) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = product.openai().chat.completions.create(
        model="budgie",
        messages=[{"role": "user", "content": "Extract name and age as JSON: Mia is 7 years old."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema, "strict": True},
        },
        temperature=0,
        max_tokens=96,
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert isinstance(found["name"], str)
    assert isinstance(found["age"], int)


def test_a_forced_tool_call_has_the_tools_arguments(product: Product) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 20}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    answer = product.openai().chat.completions.create(
        model="budgie",
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[tool],  # type: ignore[list-item]
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=64,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert "city" in json.loads(calls[0].function.arguments)


def test_text_completion_echoes_and_takes_lists(product: Product) -> None:
    answer = product.openai().completions.create(
        model="budgie", prompt=["One two", "Red blue"], max_tokens=4, echo=True
    )
    assert [choice.text.startswith(p) for choice, p in zip(
        answer.choices, ["One two", "Red blue"], strict=True
    )] == [True, True]  # fmt: skip


def test_tokens_of_a_text_and_back(product: Product) -> None:
    def post(path: str, **body: object) -> httpx.Response:
        with product.http as http:
            return http.post(path, json=body)

    text = "Hello, wörld!"
    tokens = post("/tokenize", model="budgie", prompt=text).json()
    assert tokens["count"] == len(tokens["tokens"]) > 3
    assert post("/detokenize", model="budgie", tokens=tokens["tokens"]).json() == {"prompt": text}
    chat = post("/tokenize", model="budgie", messages=HELLO).json()
    usage = (
        product.openai().chat.completions.create(model="budgie", messages=HELLO, max_tokens=1).usage
    )
    assert usage is not None
    assert chat["count"] == usage.prompt_tokens
    for path, body, param in (
        ("/tokenize", {"model": "budgie", "prompt": 5}, "prompt"),
        ("/tokenize", {"model": "budgie", "prompt": "a", "temperature": 1}, "temperature"),
        ("/detokenize", {"model": "budgie", "tokens": ["a"]}, "tokens[0]"),
        ("/detokenize", {"model": "nobody", "tokens": [1]}, "model"),
    ):
        refused = post(path, **body)
        assert refused.status_code in (400, 404), refused.text
        assert refused.json()["error"]["param"] == param, refused.text


def test_anthropics_client_works_unchanged(product: Product) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=product.url, api_key=product.key, max_retries=0)
    asked: dict[str, Any] = {"model": "budgie", "messages": HELLO}
    greedy: dict[str, Any] = {"max_tokens": 24, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**asked, **greedy)
    text = whole.content[0].text
    assert text == ask(product.openai(), "budgie", "Hello!")
    assert (whole.role, whole.stop_reason) == ("assistant", "end_turn")
    with client.messages.stream(**asked, **greedy) as stream:
        assert "".join(stream.text_stream) == text
        last = stream.get_final_message()
    assert last.usage.output_tokens == whole.usage.output_tokens > 1
    counted = client.messages.count_tokens(**asked)
    cached = whole.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == whole.usage.input_tokens + cached
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(max_tokens=4, **{**asked, "model": "nobody"})
    assert "nobody" in missing.value.message
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(max_tokens=0, **asked)
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-wrong").messages.create(max_tokens=4, **asked)


def test_embeddings_keep_the_order_of_any_number_of_texts(product: Product) -> None:
    client = product.openai()
    texts = [f"The number {i} is here." for i in range(70)]
    many = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts, encoding_format="float")
    assert [item.index for item in many.data] == list(range(70))
    assert many.usage.prompt_tokens == many.usage.total_tokens > 70
    (one,) = client.embeddings.create(
        model="sentence-transformers/all-MiniLM-L6-v2", input=texts[41], encoding_format="float"
    ).data
    assert len(one.embedding) == 384
    cosine = sum(a * b for a, b in zip(one.embedding, many.data[41].embedding, strict=True))
    assert cosine > 0.999
    with product.http as http:
        body = {"model": "all-MiniLM-L6-v2", "input": texts[41], "encoding_format": "base64"}
        coded = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert struct.unpack("<384f", base64.b64decode(coded)) == pytest.approx(one.embedding, abs=0.02)


BAD = {
    "unknown model": ({"model": "nope", "messages": HELLO}, 404, "model", "model_not_found"),
    "embedding model": (
        {"model": "all-MiniLM-L6-v2", "messages": HELLO}, 400, "model", "unsupported_endpoint",
    ),
    "empty messages": ({"model": "budgie", "messages": []}, 400, "messages", "invalid_request"),
    "a role of its own": (
        {"model": "budgie", "messages": [{"role": "user"}], "max_tokens": "x"}, 400, "max_tokens",
        "invalid_request",
    ),
    "temperature": (
        {"model": "budgie", "messages": HELLO, "temperature": -1}, 400, "temperature",
        "invalid_request",
    ),
    "unknown field": (
        {"model": "budgie", "messages": HELLO, "temprature": 1}, 400, "temprature",
        "unknown_parameter",
    ),
    "context": (
        {"model": "budgie", "messages": [{"role": "user", "content": "word " * 9000}]}, 400,
        "messages", "context_length_exceeded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_its_field_in_openais_shape(product: Product, case: str) -> None:
    body, status, param, code = BAD[case]
    with product.http as http:
        answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["message"]
    assert answer.headers["x-request-id"]


def test_requests_without_a_good_key_are_refused_everywhere(product: Product) -> None:
    for method, path in (
        ("GET", "/v1/models"), ("GET", "/v1/files"), ("POST", "/v1/chat/completions"),
        ("GET", "/v1/fine_tuning/jobs"), ("GET", "/status"), ("GET", "/v1/adapters"),
    ):  # fmt: skip
        answer = httpx.request(method, product.url + path, json={"model": "budgie"})
        assert answer.status_code == 401, path
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(f"{product.url}/nowhere").status_code == 401, "nothing is open by accident"
    with product.http as http:
        answer = http.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_a_client_that_goes_away_stops_its_generation_in_the_engine(product: Product) -> None:
    body = {
        "model": "budgie",
        "messages": HELLO,
        "stream": True,
        "max_tokens": 1900,
        "min_tokens": 1900,
        "ignore_eos": True,
    }
    with product.http as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()  # kept: httpx hangs up when its iterator is dropped
        next(lines)
        wait_for(lambda: product.replica()["running"] == 1, "the request to run", 30)
    left = time.monotonic()
    wait_for(lambda: product.replica()["running"] == 0, "the generation to stop", 30)
    assert time.monotonic() - left < 15


def test_the_description_has_every_endpoint(product: Product) -> None:
    document = httpx.get(f"{product.url}/openapi.json").json()
    assert {
        "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/files",
        "/v1/fine_tuning/jobs", "/v1/adapters",
    } <= set(document["paths"])  # fmt: skip
    assert "ChatCompletionRequest" in document["components"]["schemas"]
    assert httpx.get(f"{product.url}/docs").status_code == 200
