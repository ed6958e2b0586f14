"""Loss on the assistant's tokens only, whatever the template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.datasets.rows import Row
from cluster.datasets.validation import rows
from train.budgie import WEIGHTS
from train.faults import Unworkable
from train.masking import IGNORED, Encoded, common_prefix, encode

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# No generation prompt of its own: the question's end is the prompt.
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)
# Earlier answers lose their reasoning, as Qwen3's and DeepSeek's do.
THINKING = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
    "{% if m.role == 'assistant' and not loop.last and '</think>' in m.content %}"
    "{{ m.content.split('</think>')[1] }}{% else %}{{ m.content }}{% endif %}{{ '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# The mark ends before the token that ends the turn.
SHORT_MARK = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is two and two?"},
    {"role": "assistant", "content": "It is four."},
    {"role": "user", "content": "And three?"},
    {"role": "assistant", "content": "That is five, then."},
]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS)


def with_template(tokenizer: Any, template: str) -> Any:
    from copy import deepcopy

    other = deepcopy(tokenizer)
    other.chat_template = template
    return other


def row(line: dict[str, Any]) -> Row:
    """The row that the trainer gets for a line of a file."""
    (found,) = rows([json.dumps(line).encode()])
    return found


def learned(tokenizer: Any, encoded: Encoded) -> list[str]:
    """The texts of the runs of tokens with a loss."""
    runs: list[list[int]] = []
    before = IGNORED
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (IGNORED, token)
        if label != IGNORED:
            if before == IGNORED:
                runs.append([])
            runs[-1].append(token)
        before = label
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(
    ("template", "end"),
    [(CHATML, "<|im_end|>\n"), (SHORT_MARK, "<|end|>"), (None, "<|end|>")],
    ids=["chatml", "mark-too-short", "budgie"],
)
def test_each_answer_is_learned_with_its_end(
    tokenizer: Any, template: str | None, end: str
) -> None:
    tokenizer = with_template(tokenizer, template or tokenizer.chat_template)
    encoded = encode(tokenizer, row({"messages": TALK}))
    assert learned(tokenizer, encoded) == [f"It is four.{end}", f"That is five, then.{end}"]
    whole = tokenizer.apply_chat_template(TALK, tokenize=True, return_dict=True)["input_ids"]
    assert encoded.input_ids == whole


def test_a_template_without_a_generation_prompt(tokenizer: Any) -> None:
    tokenizer = with_template(tokenizer, INST)
    encoded = encode(tokenizer, row({"messages": TALK[1:]}))
    assert learned(tokenizer, encoded) == [" It is four.</s>", " That is five, then.</s>"]


def test_an_earlier_turn_that_is_shown_differently_is_context_only(tokenizer: Any) -> None:
    tokenizer = with_template(tokenizer, THINKING)
    talk = [dict(turn) for turn in TALK]
    talk[2]["content"] = "<think>hm</think>It is four."
    talk[4]["content"] = "<think>so</think>That is five."
    encoded = encode(tokenizer, row({"messages": talk}))
    assert learned(tokenizer, encoded) == ["<think>so</think>That is five.<|end|>"]
    assert "hm" not in tokenizer.decode(encoded.input_ids)


@pytest.mark.parametrize("template", [CHATML, None], ids=["chatml", "budgie"])
def test_a_turn_of_weight_zero_has_no_loss(tokenizer: Any, template: str | None) -> None:
    tokenizer = with_template(tokenizer, template or tokenizer.chat_template)
    talk = [dict(turn) for turn in TALK]
    talk[2]["weight"] = 0
    (run,) = learned(tokenizer, encode(tokenizer, row({"messages": talk})))
    assert run.startswith("That is five")


def test_a_tool_call_is_learned_as_it_is_served(tokenizer: Any) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    call = {"name": "weather", "arguments": json.dumps({"city": "Oslo"})}
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": t} for t in ("Weather?", "In Oslo.")],
        },
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
    ]
    encoded = encode(tokenizer, row({"messages": messages, "tools": [tool]}))
    (run,) = learned(tokenizer, encoded)
    assert run == (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|end|>'
    )
    assert "weather(city: string)" in tokenizer.decode(encoded.input_ids)
    assert "Weather?\nIn Oslo." in tokenizer.decode(encoded.input_ids)


def test_a_completion_is_learned_and_ended(tokenizer: Any) -> None:
    encoded = encode(tokenizer, row({"prompt": "The sky is", "completion": " blue."}))
    assert learned(tokenizer, encoded) == [f" blue.{tokenizer.eos_token}"]
    assert encode(tokenizer, row({"prompt": "", "completion": "Hi"})).trainable >= 2


def test_a_template_that_refuses_a_row_fails_the_job(tokenizer: Any) -> None:
    tokenizer = with_template(tokenizer, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(Unworkable, match="roles must alternate") as caught:
        encode(tokenizer, row({"messages": TALK}))
    assert caught.value.param == "training_file"


def test_common_prefix() -> None:
    assert common_prefix("abcd", "abxy") == 2
    assert common_prefix("ab", "abcd") == common_prefix([1, 2, 3], [1, 2]) == 2
    assert common_prefix("", "a") == 0
