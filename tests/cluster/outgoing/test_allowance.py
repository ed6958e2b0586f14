"""Which addresses may be called for a tenant."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.outgoing.allowance import Allowance, is_public, literal


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254",
        "172.16.0.1", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.1",
        "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:c0a8:101::1",
        "2001:0:7f00:1::1", "2001:db8::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1",
        "100::1",
    ],
)  # fmt: skip
def test_what_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_what_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.integers(0, 2**32 - 1))
def test_no_disguise_makes_an_address_public(number: int) -> None:
    plain = IPv4Address(number)
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert is_public(IPv6Address(prefix | number)) == is_public(plain)
    assert is_public(plain) <= plain.is_global


def covers(entry: str, address: str, port: int = 443, host: str = "h.test") -> bool:
    return Allowance([entry]).covers(host, ip_address(address), port)


@pytest.mark.parametrize(
    ("entry", "address", "port", "host", "expected"),
    [
        ("10.0.0.0/8", "10.9.9.9", 80, "h", True),
        ("10.0.0.0/8", "11.9.9.9", 80, "h", True),  # public
        ("10.0.0.0/8", "192.168.0.1", 80, "h", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 80, "h", True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, "h", True),
        ("127.0.0.1:8000", "127.0.0.1", 6379, "h", False),
        ("[::1]:8000", "::1", 8000, "h", True),
        ("[::1]:8000", "::1", 8001, "h", False),
        ("fd00::/8", "fd12::1", 80, "h", True),
        ("vllm.internal", "10.0.0.1", 80, "vllm.internal", True),
        ("vllm.internal", "10.0.0.1", 80, "VLLM.internal.", True),
        ("vllm.internal", "10.0.0.1", 80, "xvllm.internal", False),
        ("*.internal:8000", "10.0.0.1", 8000, "a.b.internal", True),
        ("*.internal:8000", "10.0.0.1", 8000, "internal", False),
        ("*.internal:8000", "10.0.0.1", 80, "a.internal", False),
    ],
)
def test_what_an_operator_allows(
    entry: str, address: str, port: int, host: str, expected: bool
) -> None:
    assert covers(entry, address, port, host) is expected


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.0/33", "1.2.3", "10.0.0.1/8", "a b", "h:0", "h:70000", "http://h", "h/8"]
)
def test_what_is_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match=r"names a port|is no network"):
        Allowance([entry])


def test_names_are_not_addresses() -> None:
    assert literal("localhost") is None
    assert literal("[::1]") == IPv6Address("::1")
