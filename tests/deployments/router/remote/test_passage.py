"""What is read from a provider's own counts."""

from __future__ import annotations

from cluster.usage.event import LARGEST
from deployments.router.counts import anthropic_usage
from deployments.router.exchange import Usage


def test_a_sum_of_counts_is_bounded_as_each_of_them_is() -> None:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    told = {**dict.fromkeys(names, 2**70), "output_tokens": 3}
    assert anthropic_usage(told) == Usage(LARGEST, 3, LARGEST)
    assert anthropic_usage({**dict.fromkeys(names, 5), "output_tokens": 3}) == Usage(15, 3, 5)
