"""The commands of docs/limits.md are commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.markdown import Page
from tests.test_readme import parse

COMMANDS = list(Page(Path(__file__).parents[1] / "docs" / "limits.md").commands())


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_lorikeet_takes_the_words(words: list[str]) -> None:
    assert parse(words[1:]) in words


def test_all_nouns_of_the_page_are_there() -> None:
    assert {words[1] for words in COMMANDS} == {"keys", "limits", "prices", "budget"}
