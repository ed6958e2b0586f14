"""What docs/connections.md tells its reader to type is taken."""

from __future__ import annotations

import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from cluster.outgoing.allowance import Allowance
from tests.markdown import Page
from tests.test_readme import parse

PAGE = Page(Path(__file__).parents[2] / "docs" / "connections.md")
COMMANDS = [words for words in PAGE.commands() if words[0] == "lorikeet"]


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_lorikeet_takes_the_words(words: list[str]) -> None:
    typed = list(takewhile(lambda word: word != "<", words[1:]))
    assert parse(typed) in typed


def test_what_is_allowed_is_written_so() -> None:
    (entries,) = (
        words[0].partition("=")[2] for words in PAGE.commands() if words[0].startswith("LORIKEET_")
    )
    assert len(entries.split(",")) == 4
    Allowance(entries.split(","))
