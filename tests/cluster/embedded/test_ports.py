from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.embedded.ports import FIRST, LAST, SIZE, listen, port_block, require_free
from cluster.errors import ConfigurationError


def test_two_products_get_blocks_apart() -> None:
    with port_block(Path("/a"), besides=8000) as one, port_block(Path("/a"), besides=8000) as two:
        assert abs(one.first - two.first) >= SIZE
        assert FIRST <= one.first < LAST


def test_a_home_keeps_its_block() -> None:
    with port_block(Path("/b"), besides=8000) as one:
        first = one.first
    with port_block(Path("/b"), besides=8000) as again:
        assert again.first == first


def test_a_block_lies_beside_the_products_own_port() -> None:
    with port_block(Path("/c"), besides=8000) as one:
        first = one.first
    with port_block(Path("/c"), besides=first + 50) as other:
        assert first + 50 not in range(other.first, other.first + SIZE)


def test_a_block_with_a_taken_port_is_left_alone() -> None:
    with port_block(Path("/d"), besides=8000) as one:
        first, gcs = one.first, one["gcs"]
    with listen("127.0.0.1", gcs), port_block(Path("/d"), besides=8000) as other:
        assert other.first != first


def test_the_ranges_do_not_overlap() -> None:
    with port_block(Path("/e"), besides=8000) as block:
        named = {block[n] for n in ("gcs", "dashboard", "haproxy_stats", "fallback_grpc")}
        ranges = set(block.replicas_http) | set(block.replicas_grpc)
        assert len(named) == 4
        assert not named & ranges
        assert max(ranges) == block.first + SIZE - 1


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1 is in use"):
            require_free("127.0.0.1", port)


def test_an_address_of_no_interface_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.77:8000"):
        require_free("192.0.2.77", 8000)


@pytest.mark.skipif(os.getuid() == 0, reason="root may listen on any port")
def test_a_privileged_port_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Cannot listen on"):
        require_free("127.0.0.1", 80)
