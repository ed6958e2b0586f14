"""Constant arrivals, and the paced engine that they are sent to."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench import open_loop
from bench.chat import body
from bench.job import Job, Tally
from bench.open_loop import OpenLoop
from bench.paced.engine import PacedEngine
from bench.paced.generation import Generation, Wire
from tests.bench.paced import Paced, paced

JOB = Job("127.0.0.1", 0, "m", "k", True, 0, seconds=0.5, timeout=2.0, rate=100.0, tokens=20)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "WARM_S", 0.1)


def engine_under(job: Job, folder: Path, seconds: float = 0.1) -> tuple[Tally, PacedEngine]:
    async def both() -> tuple[Tally, PacedEngine]:
        engine = PacedEngine("m", seconds)
        await engine.listen(folder / "e.sock", 0)
        port = engine.servers[1].sockets[0].getsockname()[1]
        tally = await OpenLoop(replace(job, port=port)).drive()
        await engine.stop()
        return tally, engine

    return asyncio.run(both())


@pytest.mark.parametrize("stream", [True, False])
def test_every_arrival_is_answered_at_the_engines_pace(tmp_path: Path, stream: bool) -> None:
    tally, engine = engine_under(replace(JOB, stream=stream), tmp_path)
    assert tally.errors == {}
    assert tally.requests == pytest.approx(50, abs=1)
    # How much longer a busy machine takes is not known, and never shorter.
    assert 100 <= tally.latency[0] <= tally.latency[1]
    if stream:
        assert 9 <= tally.ttft[0] <= tally.latency[0] - 50
        assert tally.events == 20 + 3  # role, finish and [DONE]
    assert 0 <= tally.late[0] < tally.latency[0]
    assert not engine.running


def test_a_system_that_stalls_is_charged_for_all_who_came_meanwhile() -> None:
    """A closed loop would have sent a handful of requests, and would have found them slow."""

    async def both() -> Tally:
        async with paced(Paced(first=0.3, last=0.3, tokens=20)) as server:
            return await OpenLoop(replace(JOB, port=server.port)).drive()

    tally = asyncio.run(both())
    assert tally.errors == {}
    assert tally.requests == pytest.approx(50, abs=1)
    assert tally.latency[0] >= 300


def test_what_is_not_answered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "MOST", 10)

    async def both() -> Tally:
        async with paced(Paced(first=30, last=30)) as server:
            return await OpenLoop(replace(JOB, port=server.port, timeout=0.1)).drive()

    tally = asyncio.run(both())
    assert tally.requests == 0
    assert tally.errors["timeout"] == 10
    assert tally.errors["too many in flight"] == pytest.approx(50, abs=2)


def test_nobody_there() -> None:
    tally = asyncio.run(OpenLoop(replace(JOB, port=9)).drive())
    assert set(tally.errors) == {"no connection"}
    assert (tally.requests, tally.rate) == (0, 0)


@pytest.mark.parametrize(("tokens", "steps"), [(20, 10), (7, 10), (200, 10), (1, 1)])
def test_a_generation_says_its_tokens_in_its_steps(tokens: int, steps: int) -> None:
    request = body("m", 0, stream=True, usage=True, tokens=tokens)
    generation = Generation(Wire.of("m"), request, steps)
    pieces = []
    while not generation.over:
        pieces.append(generation.framed())
    assert len(pieces) == steps
    text = b"".join(pieces)
    assert text.count(b'"content":" word"') == tokens
    assert text.count(b'"finish_reason":"length"') == 1
    assert (
        json.loads(text.split(b"data: ")[-2].split(b"\n")[0])["usage"]["completion_tokens"]
        == tokens
    )
    assert text.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_caller_who_leaves_is_generated_for_no_more(tmp_path: Path) -> None:
    async def leave() -> bool:
        engine = PacedEngine("m", 30.0)
        await engine.listen(tmp_path / "e.sock", 0)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "e.sock"))
        content = json.dumps(body("m", 0, stream=True)).encode()
        writer.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))
        await reader.readuntil(b"data: ")
        began = bool(engine.running)
        writer.close()
        end = time.monotonic() + 5
        while engine.running and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await engine.stop()
        return began and not engine.running

    assert asyncio.run(leave())
