"""Virtual models on the running product."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.product.product import Product

QUESTION = "What colour is the sky?"


@pytest.fixture
def helper(product: Product) -> Iterator[str]:
    options = ["--system", "You are a parrot.", "--fix", "max_tokens=2", "--fix", "temperature=0"]
    product.cli("virtual-models", "set", "helper", "budgie", *options)
    yield "helper"
    product.cli("virtual-models", "remove", "helper")


def test_what_a_virtual_model_adds_reaches_the_engine(product: Product, helper: str) -> None:
    client = product.openai()
    messages = [{"role": "user", "content": QUESTION}]
    told = client.chat.completions.create(model=helper, messages=messages, max_tokens=50)  # type: ignore[arg-type]
    plain = client.chat.completions.create(model="budgie", messages=messages, max_tokens=2)  # type: ignore[arg-type]
    assert told.usage is not None
    assert plain.usage is not None
    assert told.usage.completion_tokens == 2, "what is fixed goes before the request"
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens, "the system prompt is in it"
    assert helper in [model.id for model in client.models.list()]
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=helper, prompt="Hello")
    assert refused.value.code == "unsupported_endpoint"
