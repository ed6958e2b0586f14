"""Rows hold whole documents, and only what the model says has full weight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.budgie.packing import PROMPT_WEIGHT, Marks, batches, pack, token_weights

pytestmark = pytest.mark.slow

MARKS = Marks(pad=0, assistant=4, users=frozenset({2, 3, 5}))
DOCUMENTS = st.lists(
    st.lists(st.integers(6, 99), min_size=1, max_size=20).map(lambda ids: [*ids, 1]), max_size=40
)


@given(documents=DOCUMENTS)
def test_every_document_is_in_one_row(documents: list[list[int]]) -> None:
    rows = pack(documents, 32, pad=0, open_rows=3)
    assert all(len(row) == 32 for row in rows)
    packed = [token for row in rows for token in row if token != 0]
    assert sorted(packed) == sorted(token for document in documents for token in document)
    for document in documents:
        assert any(document == row[i : i + len(document)] for row in rows for i in range(len(row)))


def test_a_long_document_is_cut() -> None:
    assert pack([[7] * 50], 32, pad=0) == [[7] * 32]


def test_weights_of_a_dialog_and_of_prose() -> None:
    assert token_weights([3, 9, 1, 4, 8, 1], MARKS) == [0, PROMPT_WEIGHT, PROMPT_WEIGHT, 0, 1, 1]
    assert token_weights([9, 8, 1], MARKS) == [1, 1, 1]


def test_batches_have_the_same_size_and_ignore_padding() -> None:
    documents = [[3, 9, 1, 4, 8, 1]] * 200
    made = batches(documents, MARKS, tokens=64, short=16, long=64, long_share=0.3, seed=1)
    assert {tuple(batch.ids.shape) for batch in made} == {(4, 16), (1, 64)}
    assert all(not batch.weights[batch.ids == 0].any() for batch in made)
