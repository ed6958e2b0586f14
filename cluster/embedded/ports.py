"""TCP ports of one product: a block of its own, so that several run on one machine."""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ConfigurationError

FIRST, LAST, SIZE = 20000, 32000, 100
"""Below the range from which Linux takes the ports of outgoing connections."""
NAMED = (
    "gcs",
    "dashboard",
    "agent_http",
    "agent_grpc",
    "runtime_env",
    "node_manager",
    "object_manager",
    "ray_metrics",
    "dashboard_metrics",
    "haproxy_stats",
    "haproxy_metrics",
    "fallback_http",
    "fallback_grpc",
)
REPLICAS = 40
"""Ports for each protocol: a replica's port rests for minutes before it is given again."""


class PortBlock:
    """`block["gcs"]` is a port; `replicas_http` and `replicas_grpc` are ranges of them."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._named = dict(zip(NAMED, range(first + 1, first + SIZE), strict=False))
        self.replicas_http = range(first + SIZE - 2 * REPLICAS, first + SIZE - REPLICAS)
        self.replicas_grpc = range(first + SIZE - REPLICAS, first + SIZE)

    def __getitem__(self, name: str) -> int:
        return self._named[name]

    def is_free(self) -> bool:
        return all(_is_free("127.0.0.1", p) for p in range(self.first + 1, self.first + SIZE))


@contextmanager
def port_block(home: Path, besides: int) -> Iterator[PortBlock]:
    """A free block without the port `besides`; the same one for a home where possible.

    Its first port is listened on as long as the block is in use: that is the lock between products.
    """
    count = (LAST - FIRST) // SIZE
    start = int.from_bytes(hashlib.sha256(str(home).encode()).digest()[:4], "big")
    for offset in range(count):
        first = FIRST + (start + offset) % count * SIZE
        if besides in range(first, first + SIZE):
            continue
        try:
            lock = listen("127.0.0.1", first)
        except OSError:
            continue
        with lock:
            block = PortBlock(first)
            if block.is_free():
                yield block
                return
    raise ConfigurationError(f"No {SIZE} free ports in a row between {FIRST} and {LAST}.")


def require_free(host: str, port: int) -> None:
    """Raises ConfigurationError if the product's own port cannot be listened on."""
    try:
        listen(host, port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} on {host} is in use; choose another with --port."
        else:
            message = f"Cannot listen on {host}:{port}: {error.strerror or error}."
        raise ConfigurationError(message) from error


def _is_free(host: str, port: int) -> bool:
    try:
        listen(host, port).close()
    except OSError:
        return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        # Connections that are only winding down do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener
