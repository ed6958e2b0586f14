"""What a virtual model adds to a body."""

from __future__ import annotations

from cluster.catalog.preset import Preset

KNOWN = frozenset({"model", "temperature", "max_tokens", "seed"})
PRESET = Preset({"temperature": 0.2, "seed": 1}, {"max_tokens": 5, "top_k": 3})


def test_a_request_goes_before_a_default_and_what_is_fixed_before_the_request() -> None:
    given = {"model": "m", "temperature": 0.9, "max_tokens": 100, "seed": None}
    assert PRESET.parameters(given, KNOWN) == {
        "model": "m", "temperature": 0.9, "max_tokens": 5, "seed": 1,
    }  # fmt: skip


def test_what_the_endpoint_does_not_know_does_not_apply() -> None:
    assert PRESET.parameters({"model": "m"}, frozenset({"model"})) == {"model": "m"}
