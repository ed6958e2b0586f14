"""How urgent a request is: OpenAI's `service_tier`, as three classes."""

from __future__ import annotations

from enum import IntEnum


class Tier(IntEnum):
    """The most urgent first."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    """Work that can wait, such as batches."""


SHARE = {Tier.PRIORITY: 16.0, Tier.DEFAULT: 4.0, Tier.FLEX: 1.0}
"""Of the tokens that a model makes while requests of several tiers wait for it. No tier starves."""
