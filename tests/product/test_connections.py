"""Other providers through the whole product: the SDKs of both protocols, to servers of both."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.deployments.router.provider import (
    FakeProvider,
    anthropic,
    chunk,
    document,
    events,
    openai,
)
from tests.product.product import Product, wait_for

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
TOOL: dict[str, Any] = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


async def ready(product: Product, provider: FakeProvider, name: str, protocol: str) -> None:
    await provider.start()
    body = {"name": name, "protocol": protocol, "base_url": provider.url, "secret": "sk-upstream"}
    headers = {"authorization": f"Bearer {product.key}"}
    async with httpx.AsyncClient(base_url=product.url, headers=headers, timeout=60) as http:
        made = await http.post("/v1/connections", json=body)
        if made.status_code == 400 and made.json()["error"]["param"] == "base_url":
            pytest.skip("the running product was started without LORIKEET_OUTGOING_ALLOW=127.0.0.1")
        assert made.status_code == 201, made.text
        tested = (await http.post(f"/v1/connections/{name}/test")).json()
        assert tested["ok"], tested


@pytest.fixture
def forgotten(product: Product) -> Iterator[None]:
    yield
    with product.http as http:
        for name in ("gpt", "claude"):
            http.delete(f"/v1/connections/{name}")


@pytest.fixture
async def gpt(product: Product, forgotten: None) -> AsyncIterator[FakeProvider]:
    provider = FakeProvider(openai)
    await ready(product, provider, "gpt", "openai")
    yield provider
    await provider.stop()


@pytest.fixture
async def claude(product: Product, forgotten: None) -> AsyncIterator[FakeProvider]:
    provider = FakeProvider(anthropic)
    await ready(product, provider, "claude", "anthropic")
    yield provider
    await provider.stop()


@pytest.mark.parametrize("model", ["gpt/gpt-x", "claude/claude-x"])
async def test_openais_client_meets_either_protocol(
    product: Product, gpt: FakeProvider, claude: FakeProvider, model: str
) -> None:
    async with product.aopenai() as client:
        answer = await client.chat.completions.create(model=model, messages=HELLO)
        assert answer.choices[0].message.content == "Hello!"
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 3)
        words, counts = [], []
        stream = await client.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        async for part in stream:
            words += [choice.delta.content for choice in part.choices if choice.delta.content]
            counts += [part.usage.total_tokens] if part.usage else []
        assert (words, counts) == (["Hel", "lo", "!"], [14])
        called = await client.chat.completions.create(
            model=model, messages=HELLO, tools=[{"type": "function", "function": TOOL}]
        )
        (call,) = called.choices[0].message.tool_calls or []
        assert json.loads(call.function.arguments) == {"city": "Rome"}
    assert not any(product.key in str(asked) for asked in (*gpt.asked, *claude.asked))


@pytest.mark.parametrize("model", ["gpt/gpt-x", "claude/claude-x"])
async def test_anthropics_client_meets_either_protocol(
    product: Product, gpt: FakeProvider, claude: FakeProvider, model: str
) -> None:
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(base_url=product.url, api_key=product.key, max_retries=0) as client:
        answer = await client.messages.create(model=model, max_tokens=9, messages=HELLO)
        assert answer.content[0].text == "Hello!"
        assert answer.usage.output_tokens == 3
        async with client.messages.stream(model=model, max_tokens=9, messages=HELLO) as stream:
            assert [text async for text in stream.text_stream] == ["Hel", "lo", "!"]
            whole = await stream.get_final_message()
        assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 3)
        tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
        async with client.messages.stream(
            model=model, max_tokens=9, messages=HELLO, tools=tools
        ) as stream:
            called = await stream.get_final_message()
        assert called.content[0].input == {"city": "Rome"}
        assert called.stop_reason == "tool_use"


async def test_it_is_accounted_and_told_whose_fault_it_is(
    product: Product, gpt: FakeProvider
) -> None:
    import openai as sdk

    async with product.aopenai() as client:
        for status, failure in ((429, sdk.RateLimitError), (500, sdk.InternalServerError)):
            gpt.answering = lambda asked, status=status: _refusal(status)
            with pytest.raises(failure):
                await client.chat.completions.create(model="gpt/gpt-x", messages=HELLO)
        gpt.answering = lambda asked: events([chunk({"content": "a"})])
        stream = await client.chat.completions.create(
            model="gpt/gpt-x", messages=HELLO, stream=True
        )
        with pytest.raises(sdk.APIError, match="ended the stream"):
            async for _ in stream:
                pass
        gpt.answering = openai
        await client.chat.completions.create(model="gpt/only-once", messages=HELLO)

    def used() -> list[Any]:
        with product.http as http:
            path = f"/v1/organization/usage/completions?start_time={int(time.time()) - 3600}"
            buckets = http.get(path).raise_for_status().json()["data"]
        rows = [row for bucket in buckets for row in bucket["results"]]
        return [row for row in rows if row["model"] == "gpt/only-once"]

    (row,) = wait_for(used, "the usage of another provider's model", 60)
    assert (row["input_tokens"], row["output_tokens"]) == (11, 3)


def _refusal(status: int) -> Any:
    return document({"error": {"message": "no", "type": "x"}}, status=status)


def test_the_command_line(product: Product, forgotten: None) -> None:
    url = "http://127.0.0.1:9/v1"
    product.cli("connections", "add", "gpt", "--base-url", url, "--no-key", "--model", "m")
    assert url in product.cli("connections", "list").stdout
    tested = product.cli("connections", "test", "gpt", check=False)
    assert tested.returncode == 1
    assert "can't be reached" in tested.stderr
    assert "gpt/m" in product.cli("models", "list").stdout
    product.cli("connections", "remove", "gpt")
