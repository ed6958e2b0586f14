"""Limits as headers."""

from __future__ import annotations

import pytest

from cluster.tenancy.lease import Quota
from deployments.router.quotas import quota_headers


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250ms"), (12, "12s"), (65.5, "1m6s"), (3600, "1h0m0s"), (86_399.5, "24h0m0s")],
)
def test_a_span_is_written_as_openai_writes_it(seconds: float, shown: str) -> None:
    headers = dict(quota_headers(Quota(limit=10, remaining=9, reset=seconds), None))
    assert headers[b"x-ratelimit-reset-requests"] == shown.encode()
