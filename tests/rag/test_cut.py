"""Texts that are cut after so many tokens."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rag.cut import Cuts, cut, least


def pieces(text: str, **_: Any) -> dict[str, list[tuple[int, int]]]:
    """A tokenizer of pairs of letters within words, that makes two tokens of each `é`."""
    offsets: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        if text[start] == " ":
            start += 1
            continue
        if text[start] == "é":
            offsets += [(start, start + 1)] * 2
            start += 1
            continue
        end = start + 1
        if end < len(text) and text[end] not in " é":
            end += 1
        offsets.append((start, end))
        start = end
    return {"offset_mapping": offsets}


@given(st.text("ab é", max_size=40), st.integers(-1, 12))
def test_it_is_a_beginning_that_fits_and_is_whole_where_it_can_be(text: str, most: int) -> None:
    short = cut(text, most, pieces)
    assert text.startswith(short)
    assert len(pieces(short)["offset_mapping"]) <= max(0, most)
    if most > 0 and len(pieces(text)["offset_mapping"]) <= most:
        assert short == text


def test_it_is_as_long_as_it_may_be() -> None:
    assert cut("ab cd ef", 2, pieces) == "ab cd"
    assert cut("aé", 2, pieces) == "a"


def test_bounds_that_there_are_not_do_not_bind() -> None:
    assert (least(None, 5, 3), least(None, None)) == (3, None)
    assert not Cuts()
    assert Cuts(whole=4)
