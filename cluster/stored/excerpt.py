"""Pages of a list that is read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.errors import InvalidRequest
from cluster.store.page import Order, Page

MAX_LIST = 100


def excerpt(
    rows: Sequence[dict[str, Any]], *, after: str | None, limit: int, order: Order
) -> Page[dict[str, Any]]:
    """The rows after the one whose `id` is `after`; `rows` come in ascending order.

    Raises InvalidRequest for a limit out of range or an id that none of them has.
    """
    if not 1 <= limit <= MAX_LIST:
        raise InvalidRequest(f"limit is {limit}; allowed are 1 to {MAX_LIST}.", param="limit")
    found = rows if order is Order.ASCENDING else rows[::-1]
    begin = 0
    if after is not None:
        ids = [row["id"] for row in found]
        if after not in ids:
            raise InvalidRequest(f"after is {after!r}, which is not in this list.", param="after")
        begin = ids.index(after) + 1
    return Page(tuple(found[begin : begin + limit]), len(found) > begin + limit)
