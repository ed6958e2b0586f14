"""Which models a key may name."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from cluster.tenancy.allowed_models import allowed_models, checked_patterns


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("budgie", True),
        ("budgie2", False),
        ("Budgie", False),
        ("ft:budgie:acme", True),
        ("ft:", True),
        ("openai/gpt", True),
        ("xopenai/gpt", False),
        ("", False),
    ],
)
def test_names_and_beginnings(name: str, allowed: bool) -> None:
    models = allowed_models(["budgie", "ft:*", "openai/*"])
    assert models is not None
    assert (name in models) == allowed


def test_a_star_is_all_and_null_too() -> None:
    everything = allowed_models(["*"])
    assert everything is not None
    assert "anything" in everything
    assert allowed_models(None) is None


@pytest.mark.parametrize(
    ("patterns", "param"),
    [
        ([], "models"),
        (["x"] * 101, "models"),
        (["a", ""], "models[1]"),
        (["a*b"], "models[0]"),
        (["**"], "models[0]"),
        (["x" * 256], "models[0]"),
    ],
)
def test_what_is_no_pattern_is_named(patterns: list[str], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        checked_patterns(patterns)
    assert raised.value.param == param


def test_what_is_said_twice_is_kept_once() -> None:
    assert checked_patterns(["b", "a", "b"]) == ["b", "a"]
