"""From a row of training data to token ids and labels, with loss on the model's own tokens only.

A chat is rendered by the tokenizer's template, exactly as the serving engine renders it. Which of
its tokens the assistant wrote comes from the template's ``{% generation %}`` marks where it has
them, else from rendering the chat turn by turn: what a turn adds after the generation prompt is
the assistant's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.datasets.rows import ChatRow, Row
from train.faults import Unworkable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token without loss."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

Span = tuple[int, int]
"""Characters from (inclusive) and to (exclusive) of the assistant's text in a rendered chat."""


@dataclass(frozen=True)
class Encoded:
    """`input_ids` and `labels` have the same length; `labels` is IGNORED or the token itself."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trainable(self) -> int:
        """How many tokens have a loss."""
        return sum(label != IGNORED for label in self.labels)

    def cut(self, length: int) -> Encoded:
        """The first `length` tokens."""
        return Encoded(self.input_ids[:length], self.labels[:length])


def encode(tokenizer: PreTrainedTokenizerBase, row: Row) -> Encoded:
    """Tokenise a row. Raises Unworkable where the template refuses it."""
    if isinstance(row, ChatRow):
        return _encode_chat(tokenizer, row)
    return _encode_completion(tokenizer, row.prompt, row.completion)


def _encode_completion(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> Encoded:
    text = prompt + completion
    ids, starts = _tokenise(tokenizer, text, special=True)
    first = _token_at(tokenizer, text, ids, starts, len(prompt), special=True)
    if ids and ids[-1] == tokenizer.eos_token_id:
        del ids[-1]
    labels = [IGNORED if at < first else token for at, token in enumerate(ids)]
    if tokenizer.eos_token_id is not None:
        # The end is part of the answer: without it the model never learns to stop.
        ids.append(int(tokenizer.eos_token_id))
        labels.append(ids[-1])
    return Encoded(ids, labels)


def _encode_chat(tokenizer: PreTrainedTokenizerBase, row: ChatRow) -> Encoded:
    # The serving engine knows no weights.
    turns = [{k: v for k, v in turn.items() if k != "weight"} for turn in row.messages]
    tools = list(row.tools) or None
    template = tokenizer.get_chat_template(tools=tools)
    silent = {at for at, message in enumerate(row.messages) if message.get("weight") == 0}
    try:
        if _GENERATION.search(template) and not silent:
            return _marked(tokenizer, turns, tools)
        return _by_turns(tokenizer, turns, tools, silent)
    except Unworkable:
        raise
    except Exception as error:  # a template raises whatever its author chose
        raise Unworkable(
            "invalid_training_file",
            f"The base model's chat template can not render a row of the training data: {error}",
            param="training_file",
        ) from error


def _marked(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], tools: Any) -> Encoded:
    rendered = tokenizer.apply_chat_template(
        turns, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = list(rendered["input_ids"]), list(rendered["assistant_masks"])
    special = set(tokenizer.all_special_ids)
    for at in range(1, len(ids)):
        # Some templates close the mark before the end-of-turn token, which must be learned too.
        if mask[at - 1] and not mask[at] and ids[at] in special and ids[at - 1] not in special:
            mask[at] = 1
    return Encoded(ids, [token if own else IGNORED for token, own in zip(ids, mask, strict=True)])


def _by_turns(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], tools: Any, silent: set[int]
) -> Encoded:
    """`silent` are the indexes of assistant turns that the caller wants no loss on."""

    def render(count: int, prompt: bool) -> str:
        text = tokenizer.apply_chat_template(
            turns[:count], tools=tools, tokenize=False, add_generation_prompt=prompt
        )
        assert isinstance(text, str)
        return text

    whole = render(len(turns), False)
    spans: list[Span] = []
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant" or at in silent:
            continue
        before = render(at, True) if at else ""
        after = render(at + 1, False)
        last = at == len(turns) - 1
        # Templates may show an earlier turn otherwise than it was when it was the last (they drop
        # its reasoning, say): such a turn is context only, since serving never asks for it so.
        if last or (whole.startswith(before) and whole.startswith(after)):
            spans.append((common_prefix(before, whole), len(after)))
    ids, starts = _tokenise(tokenizer, whole, special=False)
    labels = [IGNORED] * len(ids)
    for begin, end in spans:
        first = _token_at(tokenizer, whole, ids, starts, begin, special=False)
        past = _token_at(tokenizer, whole, ids, starts, end, special=False)
        labels[first:past] = ids[first:past]
    return Encoded(ids, labels)


def _tokenise(
    tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool
) -> tuple[list[int], list[int] | None]:
    """Token ids, and the character at which each begins where the tokenizer can tell (-1 for a
    token that stands for no text)."""
    if not tokenizer.is_fast:
        return list(tokenizer(text, add_special_tokens=special)["input_ids"]), None
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    starts = [start if end > start else -1 for start, end in encoded["offset_mapping"]]
    return list(encoded["input_ids"]), starts


def _token_at(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    ids: list[int],
    starts: list[int] | None,
    character: int,
    *,
    special: bool,
) -> int:
    """The index of the first token that begins at `character` or later."""
    if starts is not None:
        return next((at for at, start in enumerate(starts) if start >= character), len(ids))
    head = list(tokenizer(text[:character], add_special_tokens=special)["input_ids"])
    return common_prefix(head, ids)


def common_prefix(one: Sequence[object], other: Sequence[object]) -> int:
    """How many leading members two sequences share."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
