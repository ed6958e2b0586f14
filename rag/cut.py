"""Texts that are cut after so many tokens."""

from __future__ import annotations

from typing import Any, NamedTuple


class Cuts(NamedTuple):
    """Tokens after which texts are cut; None leaves them whole."""

    query: int | None = None
    document: int | None = None
    whole: int | None = None
    """Of all that the model reads at once, its own marks among them."""

    def __bool__(self) -> bool:
        return any(most is not None for most in self)


def cut(text: str, most: int, tokenizer: Any) -> str:
    """The beginning of `text` that is no more than `most` tokens, marks not counted.

    The text itself is cut, since the tokens of a beginning need not be the beginning of the tokens.
    """
    if most <= 0:
        return ""
    while text:
        encoded = tokenizer(
            text,
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        offsets = encoded["offset_mapping"]
        if len(offsets) <= most:
            break
        # A character may be several tokens: then it goes as a whole.
        end = min(offsets[most - 1][1], offsets[most][0])
        text = text[: min(end, len(text) - 1)]
    return text


def least(*bounds: int | None) -> int | None:
    """The lowest of those that there are."""
    return min((bound for bound in bounds if bound is not None), default=None)
