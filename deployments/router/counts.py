"""Token counts as an engine or another provider tells them, which may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.usage.event import LARGEST
from deployments.router.exchange import Usage


def count(usage: Mapping[str, Any], name: str) -> int:
    """A number of tokens that a provider tells, 0 for what is none."""
    value = usage.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(value, 0), LARGEST)


def openai_usage(usage: object) -> Usage | None:
    """Of OpenAI's object, by the names of chats or of responses; None where it counts nothing."""
    if not isinstance(usage, dict):
        return None
    inputs = count(usage, "prompt_tokens") or count(usage, "input_tokens")
    outputs = count(usage, "completion_tokens") or count(usage, "output_tokens")
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = count(details, "cached_tokens") if isinstance(details, dict) else 0
    return Usage(inputs, outputs, cached) if inputs or outputs else None


def anthropic_usage(usage: object) -> Usage | None:
    """Of Anthropic's, whose input is without what came from the cache and what went into it."""
    if not isinstance(usage, dict):
        return None
    cached = count(usage, "cache_read_input_tokens")
    inputs = count(usage, "input_tokens") + cached + count(usage, "cache_creation_input_tokens")
    outputs = count(usage, "output_tokens")
    return Usage(min(inputs, LARGEST), outputs, cached) if inputs or outputs else None
