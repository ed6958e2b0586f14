"""What every way to a replica has to do, and what only one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.serve.exceptions import RayServeException

from cluster.catalog.replicas import Replica
from cluster.settings import Settings
from deployments import engine_call
from deployments.router.answer import ConnectionLost
from deployments.router.engines.handle_transport import HandleTransport
from deployments.router.engines.socket_transport import SocketTransport
from deployments.router.engines.transport import Transport
from tests.deployments.router.asgi_engine import AsgiEngine, handles

HEADERS = b"content-type: application/json\r\nx-request-id: req_1\r\n"
REPLICA = Replica("budgie", "r1", "here", 1, "a", "/nowhere", application="budgie")


@dataclass
class Way:
    transport: Transport
    engine: AsgiEngine
    replica: Replica
    gone: Replica
    """A replica that can't be reached any more."""


@pytest.fixture(params=["socket", "handle"])
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    engine = AsgiEngine()
    if request.param == "handle":
        transport = HandleTransport(handles({"budgie": engine}))
        yield Way(transport, engine, REPLICA, replace(REPLICA, application="gone"))
        return
    path = tmp_path / "engine.sock"
    async with engine.on_socket(path):
        there = replace(REPLICA, address=str(path))
        yield Way(SocketTransport("here"), engine, there, REPLICA)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/whole", 200, b"the answer"), ("/refused", 500, b"broken"), ("/empty", 403, b"")],
)
async def test_an_answer_has_its_status_and_all_of_its_body(
    way: Way, path: str, status: int, body: bytes
) -> None:
    answer = await way.transport.post(way.replica, path, HEADERS, b'{"model": "budgie"}')
    first = await answer.read()
    assert answer.status == status
    assert first + await answer.read_all() == body
    assert await answer.read() == b"", "an end stays an end"
    answer.close()
    (asked,) = way.engine.asked
    assert asked["body"] == b'{"model": "budgie"}'
    assert asked["headers"][b"x-request-id"] == b"req_1"


async def test_the_first_piece_comes_alone_and_later_ones_joined(way: Way) -> None:
    answer = await way.transport.post(way.replica, "/stream", HEADERS, b"{}")
    reads = []
    while piece := await answer.read():
        reads.append(piece)
    answer.close()
    assert b"".join(reads) == b"".join(b"data: %d\n\n" % index for index in range(40))
    assert reads[0] == b"data: 0\n\n", "the first token waits for no other"
    assert len(reads) < 30


async def test_an_answer_that_breaks_is_told(way: Way) -> None:
    answer = await way.transport.post(way.replica, "/broken", HEADERS, b"{}")
    assert await answer.read() == b"data: 0\n\n"
    with pytest.raises(ConnectionLost):
        await answer.read_all()
    answer.close()
    again = await way.transport.post(way.replica, "/whole", HEADERS, b"{}", fresh=True)
    assert await again.read_all() == b"the answer"
    again.close()


async def test_who_closes_stops_the_engine(way: Way) -> None:
    answer = await way.transport.post(way.replica, "/endless", HEADERS, b"{}")
    assert await answer.read() == b"data: 0\n\n"
    assert way.engine.stopped == 0
    answer.close()
    async with asyncio.timeout(10):
        while not way.engine.stopped:
            await asyncio.sleep(0.005)


async def test_nobody_there_is_an_error_of_the_system(way: Way) -> None:
    for _ in range(2):
        way.transport.forget(way.gone)
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the way
            await way.transport.post(way.gone, "/whole", HEADERS, b"{}")
    assert way.engine.asked == []


def test_a_socket_is_reached_on_its_node_and_a_port_from_all() -> None:
    here, elsewhere = SocketTransport("here"), SocketTransport("elsewhere")
    assert (here.reaches(REPLICA), elsewhere.reaches(REPLICA)) == (True, False)
    networked = replace(REPLICA, remote="10.0.0.7:4000")
    assert here._address(networked) == "/nowhere"
    assert elsewhere._address(networked) == "10.0.0.7:4000"


def test_a_handle_reaches_what_serve_has_deployed_on_any_node() -> None:
    by_handle = HandleTransport(handles({}))
    assert by_handle.reaches(replace(REPLICA, node="elsewhere"))
    assert not by_handle.reaches(replace(REPLICA, application="")), "a record of an older version"


def test_the_setting_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.router import app

    monkeypatch.setenv("LORIKEET_TRANSPORT", "handle")
    assert isinstance(app.transport_of(Settings().transport), HandleTransport)
    monkeypatch.delenv("LORIKEET_TRANSPORT")
    node = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(app.ray, "get_runtime_context", lambda: node)
    chosen = app.transport_of(Settings().transport)
    assert isinstance(chosen, SocketTransport)
    assert chosen.reaches(REPLICA), "its own node is told to it"


async def test_a_handle_that_broke_is_made_again() -> None:
    """A missing application is asked for again with the next request, a found one is kept."""
    engines: dict[str, AsgiEngine] = {}
    transport = HandleTransport(handles(engines))
    with pytest.raises(ConnectionError, match="no application 'budgie'") as error:
        await transport.post(REPLICA, "/whole", HEADERS, b"{}")
    assert isinstance(error.value.__cause__, RayServeException)
    engines["budgie"] = AsgiEngine()
    answer = await transport.post(REPLICA, "/whole", HEADERS, b"{}")
    assert await answer.read_all() == b"the answer"


async def test_a_slow_caller_slows_the_app_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_call, "HIGH_WATER", 100)
    sent = 0

    async def app(scope: object, receive: object, send: engine_call.Call) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})  # type: ignore[operator]
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 30, "more_body": True})  # type: ignore[operator]
            sent += 1

    pieces = engine_call.call(app, "/", b"", b"")  # type: ignore[arg-type]
    assert (await anext(pieces)).status == 200
    for _ in range(20):
        await asyncio.sleep(0)
    assert sent < 10
    rest = [piece.body async for piece in pieces]
    assert sent == 100
    assert sum(map(len, rest)) > 2500
