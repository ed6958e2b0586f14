"""That a reservation is never below the truth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cluster.usage.estimate import LARGE_VOCABULARY, most_tokens

ROOT = Path(__file__).parents[3]
BUDGIE = Tokenizer.from_file(str(ROOT / "train/budgie/weights/tokenizer.json"))
TEXTS = {
    "prose": (ROOT / "docs/decisions.md").read_text()[:4000],
    "code": Path(__file__).read_text(),
    "digits": "".join(random.Random(1).choices("0123456789", k=500)),
    "chinese": "深度学习模型在自然语言处理任务中表现出色。" * 9,
    "signs": "😀🎉🚀👩‍👩‍👧" * 20,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("escaped", [True, False])
def test_texts(text: str, escaped: bool) -> None:
    body = {"model": "budgie", "messages": [{"role": "user", "content": text}]}
    true = len(BUDGIE.encode(text).ids)
    sent = json.dumps(body, ensure_ascii=escaped).encode()
    assert most_tokens(sent, BUDGIE.get_vocab_size()) >= true


@settings(max_examples=30)
@given(st.text())
def test_any_text(text: str) -> None:
    assert most_tokens(text.encode("utf-8", "ignore"), 0) >= len(
        BUDGIE.encode(text.encode("utf-8", "ignore").decode()).ids
    )


def test_a_large_vocabulary_holds_more_in_each() -> None:
    """By the worst that was measured of one with 65,000: see docs/decisions.md."""
    words = b"The quick brown fox jumps over the lazy dog"
    assert most_tokens(words, LARGE_VOCABULARY) == 18
    assert most_tokens(b"3.14159", LARGE_VOCABULARY) == 7
    assert most_tokens("汉字".encode(), LARGE_VOCABULARY) == 6
    assert most_tokens(words, LARGE_VOCABULARY - 1) == len(words)
