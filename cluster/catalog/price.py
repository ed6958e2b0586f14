"""A model's price, and what a request costs by it."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.errors import InvalidRequest
from cluster.usage.money import NANOS, dollars

DEAREST = 100_000 * NANOS
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens; `cached_input` is for what came from the prefix cache."""

    input: int
    cached_input: int
    output: int

    def cost(self, prompt: int, cached: int, completion: int) -> int:
        """In nano-dollars, rounded half up once. `cached` are of the `prompt`."""
        cached = min(cached, prompt)
        whole = (prompt - cached) * self.input + cached * self.cached_input
        return (whole + completion * self.output + MILLION // 2) // MILLION

    def most(self, prompt: int, completion: int) -> int:
        """What so many tokens cost at most, whatever the cache holds."""
        dearer = max(self.input, self.cached_input)
        return (prompt * dearer + completion * self.output + MILLION // 2) // MILLION


FREE = Price(0, 0, 0)


def check_price(price: Price) -> None:
    """Raises InvalidRequest that names the part."""
    for part in ("input", "cached_input", "output"):
        amount = getattr(price, part)
        if not 0 <= amount <= DEAREST:
            raise InvalidRequest(
                f"{part} is {dollars(amount)}; allowed are 0 to {dollars(DEAREST)} USD per million "
                "tokens.",
                param=part,
            )
