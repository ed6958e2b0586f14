"""An adapter is lent for as long as its request runs, and no longer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cluster.errors import LorikeetError, ModelNotFound, Unavailable
from deployments.lending import ADAPTER_HEADER, NOT_LENT, Durations, Lender


class Desk:
    def __init__(self, refuse: LorikeetError | None = None) -> None:
        self.refuse = refuse
        self.out: list[str] = []
        self.lent = 0

    async def enter(self, name: str) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.out.append(name)
        self.lent += 1

    def leave(self, name: str) -> None:
        self.out.remove(name)


async def call(
    desk: Desk, durations: Durations, app: Any, *headers: tuple[bytes, bytes]
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    await Lender(app, desk, durations)({"type": "http", "headers": list(headers)}, receive, send)
    return sent


NAMED = (ADAPTER_HEADER, b"bot@0123")


async def test_it_is_lent_until_the_answer_has_ended() -> None:
    desk, durations = Desk(), Durations()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert desk.out == ["bot@0123"]
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert [message.get("status") for message in await call(desk, durations, app, NAMED)] == [200]
    assert (desk.out, desk.lent) == ([], 1)
    assert durations.duration >= 0.01


class Slow(Desk):
    """It lends once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def enter(self, name: str) -> None:
        self.asked.set()
        await self.may.wait()
        await super().enter(name)


class Wire:
    """What the caller says, in pieces as they come."""

    def __init__(self, *messages: Message) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self.messages.put_nowait(message)
        self.waited = asyncio.Event()

    async def receive(self) -> Message:
        if self.messages.empty():
            self.waited.set()
        return await self.messages.get()


BODY = [
    {"type": "http.request", "body": b"a", "more_body": True},
    {"type": "http.request", "body": b"b", "more_body": False},
]


async def unsent(message: Message) -> None:
    raise AssertionError("nobody is told anything")


async def test_who_leaves_while_it_waits_is_lent_nothing() -> None:
    desk, wire = Slow(), Wire(*BODY)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody is asked")

    scope = {"type": "http", "headers": [NAMED]}
    request = asyncio.create_task(Lender(app, desk, Durations())(scope, wire.receive, unsent))
    await desk.asked.wait()
    wire.messages.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(5):
        await request
    assert (request.cancelling(), desk.lent) == (0, 0)


async def test_what_is_heard_while_it_waits_is_heard_by_the_app() -> None:
    desk, wire, heard = Slow(), Wire(*BODY), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([await receive() for _ in range(3)])

    scope = {"type": "http", "headers": [NAMED]}
    request = asyncio.create_task(Lender(app, desk, Durations())(scope, wire.receive, unsent))
    async with asyncio.timeout(5):
        await wire.waited.wait()
        desk.may.set()
        wire.waited.clear()
        await wire.waited.wait()
        wire.messages.put_nowait({"type": "http.disconnect"})
        await request
    assert heard == [*BODY, {"type": "http.disconnect"}]
    assert (desk.out, desk.lent) == ([], 1)


async def test_who_stops_the_server_stops_what_waits() -> None:
    desk, wire = Slow(), Wire(*BODY)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody is asked")

    scope = {"type": "http", "headers": [NAMED]}
    request = asyncio.create_task(Lender(app, desk, Durations())(scope, wire.receive, unsent))
    await desk.asked.wait()
    request.cancel()
    await asyncio.wait({request})
    assert request.cancelled()


async def test_it_comes_back_from_a_request_that_fails() -> None:
    desk = Desk()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        await call(desk, Durations(), app, NAMED)
    assert (desk.out, desk.lent) == ([], 1)


async def test_the_base_model_needs_none() -> None:
    desk, asked = Desk(Unavailable("no")), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)

    await call(desk, Durations(), app, (b"x-request-id", b"1"))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("full"), NOT_LENT), (ModelNotFound("x"), 404)]
)
async def test_what_cannot_be_lent_is_refused_as_the_engine_would(
    error: LorikeetError, status: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody is asked")

    start, body = await call(Desk(error), Durations(), app, NAMED)
    assert start["status"] == status
    assert error.message.encode() in body["body"].replace(b"\\", b"")


def test_the_pace_follows_slowly() -> None:
    durations = Durations()
    durations.add(1.0)
    assert durations.duration == 1.0
    durations.add(2.0)
    assert 1.0 < durations.duration < 1.1
