"""Providers that keep failing are left alone; what the caller did wrong is not their failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.catalog.route import Remote
from cluster.errors import (
    InvalidRequest,
    LorikeetError,
    ModelNotFound,
    RateLimited,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)
from deployments.router.exchange import Exchange
from deployments.router.remote import guarded_sender
from deployments.router.remote.breaker import Breakers, Trip
from deployments.router.remote.guarded_sender import GuardedSender

MANY = Trip().consecutive


class Provider:
    """Answers, raises or hangs, as it is told."""

    def __init__(self) -> None:
        self.does: LorikeetError | None = None
        self.hangs = False
        self.takes = True
        """Whether it is sent what it is asked."""
        self.asked = 0

    async def send(self, exchange: Exchange) -> Any:
        self.asked += 1
        exchange.sent = self.takes
        if self.hangs:
            await asyncio.Event().wait()
        if self.does is not None:
            raise self.does
        return "the answer"


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def sender(provider: Provider) -> GuardedSender:
    return GuardedSender(provider, Breakers())


def asked(model: str = "big") -> Exchange:
    exchange = Exchange("/v1/chat/completions", {}, None, None)  # type: ignore[arg-type]
    exchange.route = Remote(f"acme/{model}", "conn_1", model)
    return exchange


async def refused(sender: GuardedSender, times: int = 1, model: str = "big") -> LorikeetError:
    for _ in range(times):
        with pytest.raises(LorikeetError) as told:
            await sender.send(asked(model))
    return told.value


@pytest.mark.parametrize("error", [UpstreamFailed("x"), Unavailable("x"), TimedOut("x")])
async def test_one_that_fails_is_left_alone(
    sender: GuardedSender, provider: Provider, error: LorikeetError
) -> None:
    assert await sender.send(asked()) == "the answer"
    provider.does = error
    assert await refused(sender, MANY) is error
    told = await refused(sender)
    assert provider.asked == MANY + 1, "it was not asked again"
    assert (told.status, "'acme/big'" in told.message) == (503, True)
    assert told.retry_after is not None
    provider.does = None
    assert await sender.send(asked("other")) == "the answer", "its other models are"


async def test_its_own_time_is_respected(sender: GuardedSender, provider: Provider) -> None:
    provider.does = RateLimited("x", retry_after=40.0)
    await refused(sender)
    told = await refused(sender)
    assert provider.asked == 1
    assert told.retry_after == pytest.approx(40.0, abs=1.0)


async def test_the_callers_mistakes_are_not_its_failures(
    sender: GuardedSender, provider: Provider
) -> None:
    provider.does = InvalidRequest("x")
    await refused(sender, 5 * MANY)
    assert provider.asked == 5 * MANY


@pytest.mark.parametrize("error", [InvalidRequest("x"), ModelNotFound("x")])
async def test_what_was_not_sent_says_nothing_of_it(provider: Provider, error: Any) -> None:
    now = 0.0
    sender = GuardedSender(provider, Breakers(clock=lambda: now))
    provider.does = UpstreamFailed("x")
    await refused(sender, MANY)
    now += 2 * Trip().pause
    provider.takes, provider.does = False, error
    assert await refused(sender) is error
    provider.takes, provider.does = True, UpstreamFailed("x")
    assert await refused(sender) is provider.does, "the next one is the probe"
    told = await refused(sender)
    assert isinstance(told, Unavailable), "which has failed"
    assert (told.retry_after or 0) > Trip().pause * (1 + Trip().jitter)


@pytest.mark.parametrize(("hangs", "left_alone"), [(0.0, True), (60.0, False)])
async def test_one_that_hangs_fails_and_a_caller_in_a_hurry_is_none(
    sender: GuardedSender,
    provider: Provider,
    hangs: float,
    left_alone: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarded_sender, "HANGS", hangs)
    provider.hangs = True
    for _ in range(MANY):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await sender.send(asked())
    provider.hangs = False
    if left_alone:
        await refused(sender)
    else:
        assert await sender.send(asked()) == "the answer"


async def test_who_leaves_says_nothing_of_it(
    sender: GuardedSender, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_sender, "HANGS", 0.0)
    provider.hangs = True
    for _ in range(MANY):
        exchange = asked()
        exchange.gone = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await sender.send(exchange)
    provider.hangs = False
    assert await sender.send(asked()) == "the answer"
