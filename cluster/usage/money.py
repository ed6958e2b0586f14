"""Money, exactly: US dollars as whole nano-dollars, which every store adds without rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

NANOS = 1_000_000_000
"""In a dollar."""
LARGEST_EXPONENT = 18
"""Of ten. A number beyond it is a mistake, and would only cost time."""


def nanos(dollars: Decimal) -> int:
    """Raises ValueError for what is no whole number of nano-dollars."""
    if not dollars.is_finite() or dollars.adjusted() > LARGEST_EXPONENT:
        raise ValueError(f"{dollars} is no amount of money")
    scaled = Fraction(dollars) * NANOS if dollars.adjusted() >= -9 or not dollars else None
    if scaled is None or scaled.denominator != 1:
        raise ValueError(f"{dollars} has more than 9 digits after the point")
    return scaled.numerator


def dollars(amount: int) -> str:
    """`12.5` of 12,500,000,000 nano-dollars: all digits that count, and never an exponent."""
    whole, rest = divmod(abs(amount), NANOS)
    text = f"{whole}.{rest:09d}".rstrip("0").removesuffix(".")
    return f"-{text}" if amount < 0 else text
