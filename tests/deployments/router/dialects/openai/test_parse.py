"""What an inference body is held to before any engine sees it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN, ParseInference
from deployments.router.exchange import Exchange
from deployments.router.steps.name import Name

CHAT = "/v1/chat/completions"


async def _parse(body: dict[str, Any], path: str = "/v1/completions") -> Exchange:
    async def unused(*args: Any) -> Any:
        raise AssertionError("parsing does no I/O")

    exchange = Exchange(path, {"headers": []}, unused, unused)
    exchange.body = json.dumps({"model": "m", **body}).encode()
    await Name()(exchange)
    await ParseInference(Fields(SimpleNamespace(models={})))(exchange)  # type: ignore[arg-type]
    return exchange


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", 1), (["a"] * 128, 128), ([1] * 500, 1), ([[1, 2]] * 3, 3), ([], 1)],
)
async def test_a_reservation_covers_every_answer_to_every_prompt(prompt: Any, prompts: int) -> None:
    exchange = await _parse({"prompt": prompt, "max_tokens": 10, "n": 2})
    assert exchange.reserve == len(exchange.body) // BYTES_PER_TOKEN + 10 * 2 * prompts


@pytest.mark.parametrize(
    "body",
    [
        {"functions": [{"name": "f"}]},
        {"audio": {"voice": "a", "format": "mp3"}},
        {"web_search_options": {}},
        {"modalities": ["text", "audio"]},
    ],
)
async def test_what_no_engine_does_is_not_left_out_unseen(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await _parse({"prompt": "a", **body})
    assert refused.value.param == next(iter(body))
    await _parse({"prompt": "a", **dict.fromkeys(body), "modalities": ["text"]})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": [[1]] * 129}, "prompt"),
        ({"prompt": "a", "n": 129}, "n"),
        ({"prompt": "a", "n": "1000"}, "n"),
        ({"prompt": "a", "n": True}, "n"),
        ({"prompt": "a", "stream_interval": 100}, "stream_interval"),
        ({"prompt": "a", "prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"prompt": "a", "kv_transfer_params": {}}, "kv_transfer_params"),
        ({"prompt": "a", "ec_transfer_params": {}}, "ec_transfer_params"),
        ({"prompt": "a", "bad_words": ["a" * 257]}, "bad_words"),
        ({"prompt": "a", "bad_words": ["a"] * 129}, "bad_words"),
        ({"prompt": ["a"] * 65, "bad_words": ["a"] * 2}, "bad_words"),
        ({"prompt": "a", "stop": "a" * 1025}, "stop"),
        ({"prompt": "a", "stop": ["b", "a" * 1025]}, "stop"),
    ],
)
async def test_what_would_multiply_or_steer_the_work_is_refused(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        {"bad_words": ["é" * 256] * 128, "stop": "é" * 1024, "cache_salt": "é" * 1024},
        {"prompt": ["a"] * 64, "bad_words": ["a"] * 2, "stop": ["a" * 1024] * 4},
        {"bad_words": None, "stop": None, "cache_salt": None},
        # The engine judges these, and knows what to say.
        {"bad_words": "a" * 1000, "stop": 5},
        {"bad_words": [5], "stop": [5]},
    ],
)
async def test_what_the_engine_can_bear_goes_on_to_it(body: dict[str, Any]) -> None:
    exchange = await _parse({"prompt": "a", **body})
    assert {field: exchange.document[field] for field in body} == body


@pytest.mark.parametrize("salt", ["", "a" * 1025, [1], 5, False])
async def test_a_salt_is_a_text_of_some_length(salt: Any) -> None:
    with pytest.raises(InvalidRequest, match="cache_salt") as caught:
        await _parse({"prompt": "a", "cache_salt": salt})
    assert caught.value.param == "cache_salt"


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_completion_tokens", -1), ("max_completion_tokens", 0)]
    + [("top_logprobs", value) for value in (-1, "2", 1.5, True)]
    + [
        (field, value)
        for field in ("max_tokens", "max_completion_tokens")
        for value in ("8000", 8000.0, True, [1])
    ],
)
async def test_a_number_is_refused_by_the_name_it_was_sent_with(field: str, value: Any) -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(InvalidRequest) as caught:
        await _parse({"messages": messages, "logprobs": True, field: value}, CHAT)
    assert caught.value.param == field


async def test_the_least_numbers_are_taken() -> None:
    least = {"max_completion_tokens": 1, "top_logprobs": 0}
    for fields in (least, dict.fromkeys(least)):
        parsed = await _parse({"messages": [{"role": "user", "content": "a"}], **fields}, CHAT)
        assert fields.items() <= parsed.document.items()
