"""What is left of the limits, as headers."""

from __future__ import annotations

import math
import time

from cluster.tenancy.lease import Quota


def quota_headers(requests: Quota | None, tokens: Quota | None) -> list[tuple[bytes, bytes]]:
    """OpenAI's six headers, and the three that LangTrain's and LangMart's clients read."""
    headers: list[tuple[str, str]] = []
    for name, quota in (("requests", requests), ("tokens", tokens)):
        if quota is not None:
            headers += [
                (f"x-ratelimit-limit-{name}", str(quota.limit)),
                (f"x-ratelimit-remaining-{name}", str(quota.remaining)),
                (f"x-ratelimit-reset-{name}", _span(quota.reset)),
            ]
    if requests is not None:
        headers += [
            ("x-ratelimit-limit", str(requests.limit)),
            ("x-ratelimit-remaining", str(requests.remaining)),
            ("x-ratelimit-reset", str(math.ceil(time.time() + requests.reset))),
        ]
    return [(name.encode(), value.encode()) for name, value in headers]


def _span(seconds: float) -> str:
    """As OpenAI writes it: `24h0m0s`, `1m6s`, `12s` or `250ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, left = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
