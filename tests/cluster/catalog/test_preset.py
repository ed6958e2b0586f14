"""What a virtual model adds to a body."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.catalog.preset import Preset

KNOWN = frozenset({"model", "temperature", "max_tokens", "seed"})
CHAT = ("max_tokens", "max_completion_tokens")
PRESET = Preset({"temperature": 0.2, "seed": 1}, {"max_tokens": 5, "top_k": 3})


def test_a_request_goes_before_a_default_and_what_is_fixed_before_the_request() -> None:
    given = {"model": "m", "temperature": 0.9, "max_tokens": 100, "seed": None}
    assert PRESET.parameters(given, KNOWN, CHAT) == {
        "model": "m", "temperature": 0.9, "max_tokens": 5, "seed": 1,
    }  # fmt: skip


def test_what_the_endpoint_does_not_know_does_not_apply() -> None:
    assert PRESET.parameters({"model": "m"}, frozenset({"model"}), ()) == {"model": "m"}


@pytest.mark.parametrize(
    ("lengths", "given", "defaulted", "fixed"),
    [
        (CHAT, {}, {"max_tokens": 5}, {"max_tokens": 5}),
        (CHAT, {"max_completion_tokens": 9}, {"max_completion_tokens": 9}, {"max_tokens": 5}),
        (CHAT, {"max_completion_tokens": None}, {"max_tokens": 5}, {"max_tokens": 5}),
        (("max_output_tokens",), {}, {"max_output_tokens": 5}, {"max_output_tokens": 5}),
        (
            ("max_output_tokens",),
            {"max_output_tokens": 9},
            {"max_output_tokens": 9},
            {"max_output_tokens": 5},
        ),
        ((), {}, {}, {}),
    ],
)
@pytest.mark.parametrize("known", [None, frozenset({*CHAT, "max_output_tokens"})])
def test_the_length_of_an_answer_is_one_parameter(
    lengths: tuple[str, ...],
    given: dict[str, Any],
    defaulted: dict[str, Any],
    fixed: dict[str, Any],
    known: frozenset[str] | None,
) -> None:
    bound = {"max_tokens": 5}
    assert Preset(defaults=bound).parameters(given, known, lengths) == defaulted
    assert Preset(fixed=bound).parameters(given, known, lengths) == fixed
    both = Preset({"max_completion_tokens": 100}, bound)
    assert both.parameters(given, known, lengths) == fixed


def test_the_name_that_the_endpoint_has_goes_before_another() -> None:
    preset = Preset(fixed={"max_tokens": 5, "max_output_tokens": 50})
    assert preset.parameters({}, None, CHAT) == {"max_tokens": 5}
    assert preset.parameters({}, None, ("max_output_tokens",)) == {"max_output_tokens": 50}
