"""The answer to a list request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cluster.store.page import Page

Row = TypeVar("Row")


def listing(page: Page[Row], render: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    """A page of rows with the ids of its ends: `last_id` is the next page's `after`."""
    data = [render(row) for row in page.items]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
