"""Names that are slow to resolve delay nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from cluster.outgoing import lookups
from cluster.outgoing.lookups import Lookups

FOUND = ip_address("1.1.1.1")


class NameService:
    """Says nothing of `slow` hosts until it is released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (str(FOUND), 0))]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameService]:
    made = NameService()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.released.set()


async def give_up(found: Lookups, host: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await found.find(host)


async def test_slow_names_hold_up_neither_others_nor_addresses(service: NameService) -> None:
    found = Lookups()
    slow = [asyncio.create_task(found.find(f"slow{n}.test")) for n in range(50)]
    async with asyncio.timeout(5):
        assert await found.find("quick.test") == [FOUND]
        assert await found.find("1.1.1.1") == await found.find("[1.1.1.1]") == [FOUND]
        assert "1.1.1.1" not in service.asked
        service.released.set()
        assert await asyncio.gather(*slow) == [[FOUND]] * 50


async def test_who_asks_for_the_same_name_shares_one_look_up(service: NameService) -> None:
    found = Lookups()
    await give_up(found, "slow.test")  # the others still get their answer
    rest = [asyncio.create_task(found.find("Slow.test")) for _ in range(20)]
    await asyncio.sleep(0)
    service.released.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*rest) == [[FOUND]] * 20
    assert service.asked == ["slow.test"]


async def test_a_name_that_was_too_slow_is_left_alone_for_a_while(
    service: NameService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW", 0.0)
    found = Lookups()
    await give_up(found, "slow.test")
    service.released.set()
    with pytest.raises(TimeoutError):
        await found.find("slow.test")
    assert service.asked == ["slow.test"]
    later = time.monotonic() + lookups.AVOID + 1
    monkeypatch.setattr(lookups, "monotonic", lambda: later)
    async with asyncio.timeout(5):
        assert await found.find("slow.test") == [FOUND]


async def test_a_name_that_only_waited_for_a_thread_is_not_left_alone(
    service: NameService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW", 0.001)
    monkeypatch.setattr(lookups, "THREADS", 1)
    found = Lookups()
    await give_up(found, "slow.test")
    await give_up(found, "quick.test")
    service.released.set()
    async with asyncio.timeout(5):
        assert await found.find("quick.test") == [FOUND]
