"""The client for the engines' sockets, on both event loops it meets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from deployments.router.answer import ConnectionLost
from deployments.router.engines.upstream import Upstreams
from tests.deployments.router.fake_engine import Behaviour, FakeEngine

BODY = b'{"stream": true}'


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Serve's replicas run on uvloop, tests on asyncio: the two differ in their transports."""

    def on_loop(work: Awaitable[None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work)  # type: ignore[arg-type]

    return on_loop


async def _engine(folder: Path, **behaviour: object) -> FakeEngine:
    engine = FakeEngine(folder / "e.sock", Behaviour(**behaviour))  # type: ignore[arg-type]
    await engine.start()
    return engine


def test_a_stream_is_read_whole_and_its_connection_kept(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def work() -> None:
        engine = await _engine(tmp_path, tokens=50, pace=0.001)
        upstreams = Upstreams()
        for _ in range(3):
            answer = await upstreams.post(str(engine.path), "/x", b"", BODY)
            first = await answer.read()
            assert answer.status == 200
            whole = first + await answer.read_all()
            assert whole.count(b"data: ") == 52
            assert whole.endswith(b"data: [DONE]\n\n")
            answer.close()
        assert engine.connections == 1
        await engine.stop()

    run(work())


def test_pieces_after_the_first_are_joined(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def work() -> None:
        engine = await _engine(tmp_path, tokens=60, pace=0.001)
        answer = await Upstreams().post(str(engine.path), "/x", b"", BODY)
        reads = []
        while piece := await answer.read():
            reads.append(piece.count(b"data: "))
        assert reads[0] == 1, "the first token waits for no other"
        assert max(reads[1:]) > 1
        assert len(reads) < 45
        answer.close()
        await engine.stop()

    run(work())


def test_a_broken_connection_is_told_and_not_kept(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def work() -> None:
        engine = await _engine(tmp_path, tokens=5, die_after=2)
        upstreams = Upstreams()
        answer = await upstreams.post(str(engine.path), "/x", b"", BODY)
        with pytest.raises(ConnectionLost):
            await answer.read_all()
        answer.close()
        assert upstreams._idle[str(engine.path)] == []
        await engine.stop()
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on how it went away
            await upstreams.post(str(engine.path), "/x", b"", BODY)

    run(work())


def test_connections_in_flight_when_an_address_is_forgotten_are_kept_again(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def work() -> None:
        engine = await _engine(tmp_path, tokens=3)
        upstreams = Upstreams()
        answers = [await upstreams.post(str(engine.path), "/x", b"", BODY) for _ in range(3)]
        upstreams.forget(str(engine.path))
        for answer in answers:
            await answer.read_all()
            answer.close()
        assert len(upstreams._idle[str(engine.path)]) == 3
        await engine.stop()

    run(work())


def test_nothing_is_kept_of_a_replica_that_has_stopped(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def work() -> None:
        engine = await _engine(tmp_path, tokens=3)
        upstreams = Upstreams()
        answers = [await upstreams.post(str(engine.path), "/x", b"", BODY) for _ in range(2)]
        for answer in answers:
            await answer.read_all()
            answer.close()
        assert len(upstreams._idle[str(engine.path)]) == 2
        await engine.stop()
        engine.hang_up()
        async with asyncio.timeout(5):
            while upstreams._idle:
                await asyncio.sleep(0.01)

    run(work())


def test_a_connection_to_another_node_notices_that_it_vanished(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def work() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        answer = await Upstreams().post(f"127.0.0.1:{port}", "/x", b"", BODY)
        assert answer._transport is not None
        connection = answer._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        found = [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        assert found == [3, 3, 10_000]
        answer.close()
        server.close()

    run(work())


def test_an_answer_that_nobody_read_leaves_no_paused_connection(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.router.engines import upstream

    monkeypatch.setattr(upstream, "HIGH_WATER", 10)

    async def work() -> None:
        engine = await _engine(tmp_path)
        upstreams = Upstreams()
        unread = await upstreams.post(str(engine.path), "/x", b"", b"{}")
        while not unread._whole:
            await asyncio.sleep(0.01)
        assert unread._paused
        unread.close()
        answer = await upstreams.post(str(engine.path), "/x", b"", b"{}")
        async with asyncio.timeout(1):
            assert b"usage" in await answer.read_all()
        answer.close()
        await engine.stop()

    run(work())


def test_a_slow_caller_slows_the_engine_down(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.router.engines import upstream

    monkeypatch.setattr(upstream, "HIGH_WATER", 500)

    async def work() -> None:
        engine = await _engine(tmp_path, tokens=20_000)
        answer = await Upstreams().post(str(engine.path), "/x", b"", BODY)
        await asyncio.sleep(0.3)
        assert answer._paused, "nothing more is read until somebody wants it"
        assert (await answer.read_all()).endswith(b"data: [DONE]\n\n")
        await engine.stop()

    run(work())
