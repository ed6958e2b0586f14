"""Which replicas have to hold an adapter, whether or not anybody asks for it.

Each replica and the publisher find it out for themselves, from the registry and the directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.catalog.replicas import Replica
from cluster.catalog.split import Target, ranked


def home(name: str, replicas: Iterable[Replica]) -> str | None:
    """The id of the replica that proves that an adapter loads where they can't all hold all.

    It stays the same while that replica lives; those with more places are home to more.
    """
    order = nearest(name, replicas)
    return order[0] if order else None


def nearest(name: str, replicas: Iterable[Replica]) -> list[str]:
    """The ids of the replicas that take adapters, in an order that is the adapter's own."""
    shares = {r.id: Target(r.id, r.places or 1) for r in replicas if r.places != 0}
    return ranked(shares.values(), shares, "adapter", name)


def fits(replica: Replica, adapters: int) -> bool:
    """Whether the replica holds so many, all that its base model has."""
    return replica.places is None or adapters <= replica.places


def owing(name: str, pinned: bool, adapters: int, replicas: Sequence[Replica]) -> list[Replica]:
    """Those of the replicas that have to hold the adapter `name`, one of so many `adapters`."""
    if pinned or all(fits(replica, adapters) for replica in replicas):
        return list(replicas)
    at = home(name, replicas)
    return [replica for replica in replicas if replica.id == at or fits(replica, adapters)]
