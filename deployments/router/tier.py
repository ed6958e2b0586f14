"""How urgent a request is: OpenAI's `service_tier`, as three classes."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import kind


class Tier(IntEnum):
    """The most urgent first."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    """Work that can wait, such as batches."""


SHARE = {Tier.PRIORITY: 16.0, Tier.DEFAULT: 4.0, Tier.FLEX: 1.0}
"""Of the tokens that a model makes while requests of several tiers wait for it. No tier starves."""

OPENAI = {
    "auto": Tier.DEFAULT,
    "default": Tier.DEFAULT,
    "scale": Tier.DEFAULT,
    "flex": Tier.FLEX,
    "priority": Tier.PRIORITY,
    "fast": Tier.PRIORITY,
}
ANTHROPIC = {"auto": Tier.DEFAULT, "standard_only": Tier.DEFAULT}
EVERYBODY = "*"


def tier(
    body: dict[str, Any], names: dict[str, Tier], organization: str, hurried: Collection[str]
) -> Tier:
    """The tier of a request of `organization`, as its `service_tier` asks for it.

    Only organizations in `hurried` have the first one; the requests of others are served as all of
    theirs are, as OpenAI does it. Raises InvalidRequest for a value that is not in `names`.
    """
    asked = body.get("service_tier")
    if asked is None:
        return Tier.DEFAULT
    found = names.get(asked) if isinstance(asked, str) else None
    if found is None:
        allowed = ", ".join(names)
        raise InvalidRequest(
            f"service_tier must be one of {allowed}, not {kind(asked)}.", param="service_tier"
        )
    if found is Tier.PRIORITY and not (organization in hurried or EVERYBODY in hurried):
        return Tier.DEFAULT
    return found
