"""The letters of a token can be read off its embedding before any training."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from train.budgie import WEIGHTS, letters

pytestmark = pytest.mark.slow

WIDTH = 215


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(WEIGHTS)
    return loaded


@pytest.fixture(scope="module")
def rows(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    return letters.embeddings(tokenizer, WIDTH, torch.Generator().manual_seed(1))


def words(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """Token id -> its letters, of all tokens that are small letters only."""
    plain = {i: token.removeprefix("\u0120") for token, i in tokenizer.get_vocab().items()}
    return {
        i: word for i, word in plain.items() if word.isascii() and word.isalpha() and word.islower()
    }


def test_rows_are_of_mean_square_1(rows: torch.Tensor) -> None:
    assert rows.shape[1] == WIDTH
    assert rows.square().mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("place", [0, 1])
def test_one_linear_map_reads_a_letter_of_tokens_it_never_saw(
    tokenizer: PreTrainedTokenizerFast, rows: torch.Tensor, place: int
) -> None:
    known = [(i, word[place]) for i, word in words(tokenizer).items() if len(word) > place]
    seen, unseen = known[::2], known[1::2]
    wanted = torch.zeros(len(seen), 26)
    for line, (_, letter) in enumerate(seen):
        wanted[line, ord(letter) - ord("a")] = 1
    # Ridge regression: there are hardly more tokens than dimensions.
    points = rows[[i for i, _ in seen]]
    reader = torch.linalg.solve(points.T @ points + 30 * torch.eye(WIDTH), points.T @ wanted)
    read = (rows[[i for i, _ in unseen]] @ reader).argmax(1)
    right = sum(
        chr(ord("a") + int(r)) == letter for r, (_, letter) in zip(read, unseen, strict=True)
    )
    assert right > 0.6 * len(unseen), "chance is one in ten"


def test_a_letter_is_like_its_capital_and_like_itself_after_a_space(
    tokenizer: PreTrainedTokenizerFast, rows: torch.Tensor
) -> None:
    vocabulary = tokenizer.get_vocab()
    small, capital, spaced, other = (rows[vocabulary[t]] for t in ("k", "K", "\u0120k", "m"))
    assert cosine_similarity(small, capital, dim=0) > 0.15
    assert cosine_similarity(small, spaced, dim=0) > 0.15
    assert abs(cosine_similarity(small, other, dim=0)) < 0.25
