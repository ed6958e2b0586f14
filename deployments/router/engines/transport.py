"""How a request reaches a replica of a language model: what the router asks of the way there."""

from __future__ import annotations

from typing import Protocol

from cluster.catalog.replicas import Replica
from deployments.router.answer import Answer


class ReplicaAnswer(Answer, Protocol):
    """What a replica answers with."""

    @property
    def stale(self) -> bool:
        """Whether it broke for a reason that is older than the request."""

    def close(self) -> None:
        """Done with it: an engine that is still at work on it stops."""


class Transport(Protocol):
    """Sends requests to replicas."""

    def reaches(self, replica: Replica) -> bool:
        """Whether there is a way from here to `replica`."""

    async def post(
        self, replica: Replica, path: str, headers: bytes, body: bytes, *, fresh: bool = False
    ) -> ReplicaAnswer:
        """Send a request; `fresh` takes nothing that was kept of earlier ones.

        Raises OSError where nobody listens: then nothing was sent.
        """

    def forget(self, replica: Replica) -> None:
        """Keep nothing of a replica that has failed."""
