"""Embeddings that start from the letters of their tokens, so that spelling need not be discovered.

A token is one number to the model: that "tiger" begins with "t" it can only learn by being told,
word by word. Here every embedding starts as half chance, half the sum of one fixed random vector
for each of its letters at its place, the same one for capitals and small letters. A linear map can
read the letters off from the first step on, also those of a token that was never spelled.
"""

from typing import Final

import torch
from transformers import PreTrainedTokenizerFast

PLACES: Final = 12
"""Letters of a longer token are left to chance."""
LETTER_SHARE: Final = 0.5
"""Share of the variance that the letters have."""
_SPACE: Final = "\u0120"
"""How the byte-level alphabet writes a space."""


def embeddings(
    tokenizer: PreTrainedTokenizerFast, width: int, generator: torch.Generator
) -> torch.Tensor:
    """Rows of mean square 1 for all tokens, [vocabulary, width]."""
    rows = torch.randn(len(tokenizer), width, generator=generator)
    codes = torch.randn(PLACES, 26, width, generator=generator)
    spaced, capital = torch.randn(2, width, generator=generator)
    for token, index in tokenizer.get_vocab().items():
        word = token.removeprefix(_SPACE)
        if not (word.isascii() and word.isalpha()):
            continue
        spelled = sum(
            (
                codes[place, ord(letter) - ord("a")]
                for place, letter in enumerate(word.lower()[:PLACES])
            ),
            start=torch.zeros(width),
        )
        spelled += (token != word) * spaced + word[0].isupper() * capital
        spelled *= width**0.5 / spelled.norm()
        rows[index] = (1 - LETTER_SHARE) ** 0.5 * rows[index] + LETTER_SHARE**0.5 * spelled
    return rows
