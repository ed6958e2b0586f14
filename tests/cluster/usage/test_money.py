"""Money, to the last nano-dollar."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.usage.money import dollars, nanos


@given(st.integers(-(10**20), 10**20))
def test_what_is_shown_is_what_was_meant(amount: int) -> None:
    shown = dollars(amount)
    assert "e" not in shown.lower()
    assert int(Decimal(shown).scaleb(9)) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.50", 12_500_000_000),
        ("0", 0),
        ("1e-9", 1),
        ("1.5000000000000", 1_500_000_000),
        ("-2", -2_000_000_000),
    ],
)
def test_amounts_are_exact(text: str, amount: int) -> None:
    assert nanos(Decimal(text)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "1e999999999",
        "1e-999999999",
        "0.0000000001",
        "1.00000000000000000000000000000000001",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        nanos(Decimal(text))
