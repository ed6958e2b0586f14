"""`service_tier` as a class of urgency."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from deployments.router.tier import ANTHROPIC, OPENAI, Tier, tier


@pytest.mark.parametrize(
    ("asked", "hurried", "found"),
    [
        (None, (), Tier.DEFAULT),
        ("auto", ("a",), Tier.DEFAULT),
        ("default", (), Tier.DEFAULT),
        ("flex", (), Tier.FLEX),
        ("priority", (), Tier.DEFAULT),
        ("priority", ("b",), Tier.DEFAULT),
        ("priority", ("a",), Tier.PRIORITY),
        ("fast", ("*",), Tier.PRIORITY),
    ],
)
def test_the_tier_is_as_asked_for_and_allowed(
    asked: str | None, hurried: tuple[str, ...], found: Tier
) -> None:
    assert tier({"service_tier": asked}, OPENAI, "a", hurried) is found


@pytest.mark.parametrize(("asked", "names"), [("slow", OPENAI), (1, OPENAI), ("flex", ANTHROPIC)])
def test_another_value_is_refused(asked: object, names: dict[str, Tier]) -> None:
    with pytest.raises(InvalidRequest, match="service_tier must be one of auto, ") as refused:
        tier({"service_tier": asked}, names, "a", ())
    assert refused.value.param == "service_tier"
