"""The shipped tokenizer: loses nothing, renders every role, marks what the assistant says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from train.budgie import WEIGHTS
from train.budgie.tokenizer import END, SPECIAL, VISIBLE, VOCABULARY

pytestmark = pytest.mark.slow

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Weather in Oslo?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "rainy"},
    {"role": "assistant", "content": "It is rainy."},
]
RENDERED_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(WEIGHTS)
    return loaded


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id is None
    assert tokenizer.decode(ids) == text


def test_vocabulary(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == VOCABULARY
    for token in (*SPECIAL, *VISIBLE):
        assert tokenizer.encode(token, add_special_tokens=False) == [
            tokenizer.convert_tokens_to_ids(token)
        ]
    assert tokenizer.eos_token == END
    assert tokenizer.pad_token not in (None, END)


def test_tool_call_tokens_survive_decoding(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode(RENDERED_CALL + END, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == RENDERED_CALL


def test_all_roles_are_rendered(tokenizer: PreTrainedTokenizerFast) -> None:
    text = tokenizer.apply_chat_template(
        TALK, tools=[WEATHER], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|system|>Be kind.\nTools:\n"
        "get_weather(city: string, days: integer) Get the weather<|end|>"
        "<|user|>Weather in Oslo?<|end|>"
        f"<|assistant|>{RENDERED_CALL}<|end|>"
        "<|tool|>rainy<|end|>"
        "<|assistant|>It is rainy.<|end|>"
        "<|assistant|>"
    )


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ({"type": "function", "function": {"name": "ping"}}, "ping()"),
        (
            {"type": "function", "function": {"name": "ping", "parameters": {"properties": {}}}},
            "ping()",
        ),
        ({"name": "ping", "parameters": {"properties": {"x": {"anyOf": []}}}}, "ping(x: any)"),
    ],
)
def test_sparse_tools_are_rendered(
    tokenizer: PreTrainedTokenizerFast, tool: dict[str, Any], line: str
) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tools=[tool], tokenize=False
    )
    assert text == f"<|system|>Tools:\n{line}<|end|><|user|>hi<|end|>"


def test_arguments_may_be_a_string(tokenizer: PreTrainedTokenizerFast) -> None:
    call = {
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
    }
    text = tokenizer.apply_chat_template(
        [{"role": "assistant", "content": None, "tool_calls": [call]}], tokenize=False
    )
    assert text == f"<|assistant|>{RENDERED_CALL}<|end|>"


def test_the_mask_covers_answers_with_their_end(tokenizer: PreTrainedTokenizerFast) -> None:
    made = tokenizer.apply_chat_template(
        TALK, return_dict=True, return_assistant_tokens_mask=True, return_tensors=None
    )
    masked = [
        token
        for token, mask in zip(made["input_ids"], made["assistant_masks"], strict=True)
        if mask
    ]
    assert tokenizer.decode(masked) == f"{RENDERED_CALL}<|end|>It is rainy.<|end|>"
