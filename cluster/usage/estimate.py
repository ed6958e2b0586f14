"""How many tokens a text has at most, told from its bytes: a reservation before the true count.

A tokenizer would need 1 to 10 microseconds a token, which for an ordinary prompt is as much as all
else that the router does for a request; this takes some nanoseconds a byte.
"""

from __future__ import annotations

import string

LARGE_VOCABULARY = 30_000
LETTERS = string.ascii_letters.encode()


def most_tokens(text: bytes, vocabulary: int) -> int:
    """Of text for a model that knows so many tokens; 0 is not known.

    A byte is at most one token. Large vocabularies hold two letters and more in each, and a space
    with the word behind it, in whatever is language, code or data; what is meant to be random, like
    base64, comes to a little more.
    """
    if vocabulary < LARGE_VOCABULARY:
        return len(text)
    others = len(text.translate(None, LETTERS))
    return others - text.count(b" ") + (len(text) - others + 1) // 2
