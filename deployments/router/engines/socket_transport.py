"""The way to a replica over its own socket: a unix socket on this node, TCP to the others."""

from __future__ import annotations

from cluster.catalog.replicas import Replica
from deployments.router.engines.upstream import EngineAnswer, Upstreams


class SocketTransport:
    """The fast way, and the default. The replica is the one that the pool has picked."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._upstreams = Upstreams()

    def reaches(self, replica: Replica) -> bool:
        return self._address(replica) is not None

    async def post(
        self, replica: Replica, path: str, headers: bytes, body: bytes, *, fresh: bool = False
    ) -> EngineAnswer:
        address = self._address(replica)
        assert address is not None, "a picked replica can be reached"
        return await self._upstreams.post(address, path, headers, body, fresh=fresh)

    def forget(self, replica: Replica) -> None:
        address = self._address(replica)
        if address is not None:
            self._upstreams.forget(address)

    def _address(self, replica: Replica) -> str | None:
        return replica.address if replica.node == self._node else replica.remote
