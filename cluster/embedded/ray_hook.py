"""What `ray start` cannot be told by its options. Named in RAY_START_HOOK."""

from __future__ import annotations

from typing import Any


def no_client_server(parameters: Any, head: bool) -> None:
    """Leave Ray's client server out: nobody uses it, and it opens one more port."""
    assert head
    parameters.ray_client_server_port = None
