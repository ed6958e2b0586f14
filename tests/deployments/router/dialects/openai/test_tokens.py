"""What a body of `/tokenize` and `/detokenize` is held to before any engine sees it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.tokens import MAX_BYTES, MAX_TOKENS, ParseTokens
from deployments.router.exchange import Exchange
from deployments.router.steps.name import Name

KNOWN = {"/tokenize": frozenset({"model", "prompt", "messages"})}


async def parse(path: str, body: dict[str, Any]) -> Exchange:
    async def unused(*args: Any) -> Any:
        raise AssertionError("parsing does no I/O")

    pool: Any = SimpleNamespace(models={"m": (SimpleNamespace(fields=KNOWN),)})
    exchange = Exchange(path, {"headers": []}, unused, unused)
    exchange.body = json.dumps({"model": "m", **body}).encode()
    await Name()(exchange)
    await ParseTokens(Fields(pool))(exchange)
    return exchange


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"prompt": "a"}),
        ("/tokenize", {"prompt": ""}),
        ("/tokenize", {"messages": [{"role": "user", "content": "a"}]}),
        ("/detokenize", {"tokens": []}),
        ("/detokenize", {"tokens": [1, 2]}),
    ],
)
async def test_it_costs_a_request_and_no_tokens(path: str, body: dict[str, Any]) -> None:
    exchange = await parse(path, body)
    assert (exchange.model, exchange.stream, exchange.reserve) == ("m", False, 0)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": []}, "prompt"),
        ("/tokenize", {"prompt": "a" * MAX_BYTES}, "prompt"),
        ("/tokenize", {"messages": ["a" * MAX_BYTES]}, "messages"),
        ("/tokenize", {"prompt": "a", "prompts": "b"}, "prompts"),
        ("/tokenize", {"prompt": "a", "mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ("/tokenize", {"prompt": "a", "model": 1}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [1] * (MAX_TOKENS + 1)}, "tokens"),
    ],
)
async def test_what_is_refused(path: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await parse(path, body)
    assert caught.value.param == param
