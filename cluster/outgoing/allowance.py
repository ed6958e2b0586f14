"""Which addresses may be called for a tenant: public ones, and those that the operator allows.

Where a tenant chooses the address, this machine's and its networks' own services must stay out of
reach, whatever name leads to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_V6 = IPv6Network("2000::/3")
"""All that is routed in the Internet; the rest is local, reserved or a way to write IPv4."""
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_PORT = re.compile(r"(\[[^\]]+\](?:/\d+)?|[^:]+):(\d{1,5})")


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet's, also where it is another one in disguise."""
    if isinstance(address, IPv4Address):
        return address.is_global and not (address.is_multicast or address.is_reserved)
    inner = _inside(address)
    if inner:
        return all(is_public(each) for each in inner)
    return address in PUBLIC_V6 and address.is_global and not address.is_multicast


def _inside(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to an IPv6 address are brought to on the way."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in NAT64 or address in COMPATIBLE:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or ())


@dataclass(frozen=True, slots=True)
class _Exception:
    """What the operator allows beside public addresses, at every port or at one."""

    place: Network | str
    port: int | None

    def covers(self, host: str, address: Address, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if not isinstance(self.place, str):
            return any(each in self.place for each in (address, *_plain(address)))
        if self.place.startswith("*."):
            return host.endswith(self.place[1:])
        return host == self.place


def _plain(address: Address) -> list[IPv4Address]:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return [] if mapped is None else [mapped]


class Allowance:
    """Judges the address that a connection is about to go to."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """`entries`: networks (`10.0.0.0/8`), addresses and host names (`*.internal`), each with a
        port where only that one is meant. Raises ValueError that names the wrong one."""
        self._exceptions = tuple(_read(entry) for entry in entries)

    def covers(self, host: str, address: Address, port: int) -> bool:
        """Whether `address`, which `host` was resolved to, may be called at `port`."""
        return is_public(address) or any(
            each.covers(host.lower().rstrip("."), address, port) for each in self._exceptions
        )


def _read(entry: str) -> _Exception:
    place, port = entry.strip().lower(), None
    if match := _PORT.fullmatch(place):
        place, port = match[1], int(match[2])
        if not 1 <= port <= 65535:
            raise ValueError(f"{entry!r} names a port that there is not")
    place = place.replace("[", "").replace("]", "")
    try:
        return _Exception(ip_network(place), port)
    except ValueError:
        # All digits and dots is an address gone wrong, no name.
        if not _HOST.fullmatch(place) or not re.search(r"[a-z]", place):
            raise ValueError(
                f"{entry!r} is no network, address or host name (with :PORT where only one port "
                "is meant)"
            ) from None
    return _Exception(place, port)


def literal(host: str) -> Address | None:
    """The address that `host` is, written as one; None for a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
