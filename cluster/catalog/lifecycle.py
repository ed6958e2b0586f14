"""The states of an adapter and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from cluster.lifecycle import Lifecycle


class AdapterState(StrEnum):
    """A row is written once its folder is checked and stored: `publishing` is the first state."""

    PUBLISHING = "publishing"
    PUBLISHED = "published"
    RETIRED = "retired"
    FAILED = "failed"


S = AdapterState

ADAPTER_LIFECYCLE: Lifecycle[AdapterState] = Lifecycle(
    "adapter",
    {
        S.PUBLISHING: frozenset({S.PUBLISHED, S.FAILED, S.RETIRED}),
        S.PUBLISHED: frozenset({S.RETIRED}),
        S.RETIRED: frozenset(),
        # Not back to publishing: its name may be another's by then.
        S.FAILED: frozenset({S.RETIRED}),
    },
)

WANTED = frozenset({S.PUBLISHING, S.PUBLISHED})
"""States in which every replica of the base model should hold the adapter."""
