from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.router.dialects.openai.body import Body


class Note(Body):
    text: Any


@pytest.mark.parametrize("text", ["a\0b", ["\0"], {"\0": 1}, {"deep": [{"er": "\\\0"}]}])
def test_a_nul_is_refused_wherever_it_is(text: Any) -> None:
    with pytest.raises(ValidationError, match="NUL"):
        Note.model_validate({"text": text})


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\n\\u0000\x01"])
def test_what_only_looks_like_an_escaped_nul_is_taken(text: str) -> None:
    assert Note.model_validate({"text": text}).text == text


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(ValidationError) as refused:
        Note.model_validate({"text": deep})
    assert "nested too deeply" in refused.value.errors(include_input=False)[0]["msg"]
