"""The load generator's counts and times, against a server whose pace is known."""

import asyncio
import json
from statistics import fmean

import pytest

from bench.chat import TOKENS, TOPICS, Endpoint, wire
from bench.closed_loop import ClosedLoop
from bench.job import Job, Tally
from bench.quantile import median
from tests.bench.paced import Paced, paced


def drive(server: Paced, **changes: object) -> Tally:
    """Load the server briefly."""

    async def both() -> Tally:
        async with paced(server):
            settings: dict[str, object] = {
                "stream": True, "parallel": 4, "seconds": 0.3, "warmup": 1, "timeout": 2.0,
                **changes,
            }  # fmt: skip
            job = Job(host="127.0.0.1", port=server.port, model="m", key="k", **settings)  # type: ignore[arg-type]
            return await ClosedLoop(job).drive()

    return asyncio.run(both())


def test_stream_counts_events_and_times() -> None:
    server = Paced()
    tally = drive(server)
    assert tally.errors == {}
    assert tally.events == 4 + 3  # role, finish and [DONE]; "data:" inside content is not one
    assert tally.ttft[0] == pytest.approx(1000 * median(server.firsts), abs=15)
    assert 50 <= tally.ttft[0] <= tally.ttft[1]
    assert tally.latency[0] == pytest.approx(1000 * median(server.lasts), abs=20)
    assert tally.rate == pytest.approx(4 / fmean(server.lasts), rel=0.2)
    assert server.connections == 4
    assert tally.requests < server.seen  # the warm-up does not count


def test_plain_has_no_ttft() -> None:
    server = Paced()
    tally = drive(server, stream=False)
    assert tally.errors == {}
    assert tally.ttft == []
    assert tally.rate == pytest.approx(4 / fmean(server.lasts), rel=0.2)
    assert tally.events == 0


@pytest.mark.parametrize("split", [1, 5, 7])
def test_events_survive_any_split(split: int) -> None:
    tally = drive(Paced(split=split, first=0.02, last=0.03), seconds=0.1)
    assert tally.errors == {}
    assert tally.events == 7


def test_rate_does_not_depend_on_the_window() -> None:
    """Requests of 100 ms in a window of 250 ms: an edge would cost a fifth."""
    for seconds in (0.21, 0.29):
        server = Paced()
        tally = drive(server, parallel=2, seconds=seconds)
        assert tally.rate == pytest.approx(2 / fmean(server.lasts), rel=0.12)


@pytest.mark.parametrize(
    ("server", "stream", "error"),
    [
        (Paced(status=503), True, "HTTP 503"),
        (Paced(done=False), True, "no [DONE]"),
        (Paced(finish="stop"), True, "finish_reason is not length"),
        (Paced(events=0), True, "no content"),
        (Paced(tokens=TOKENS - 1), False, "not 64 tokens"),
    ],
)
def test_wrong_answers_are_errors(server: Paced, stream: bool, error: str) -> None:
    server.first, server.last = 0.01, 0.02
    tally = drive(server, stream=stream, seconds=0.1)
    assert set(tally.errors) == {error}
    assert tally.requests == 0
    assert tally.rate == 0


def test_a_lost_connection_is_an_error_and_is_opened_again() -> None:
    server = Paced(first=0.01, last=0.02, hang_up_every=7)
    tally = drive(server, seconds=0.4)
    assert set(tally.errors) == {"connection lost"}
    assert tally.requests > 20
    assert server.connections > 4


def test_nobody_there() -> None:
    job = Job("127.0.0.1", 9, "m", "k", stream=True, parallel=2, seconds=0.2, timeout=1)
    tally = asyncio.run(ClosedLoop(job).drive())
    assert set(tally.errors) == {"no connection"}
    assert tally.rate == 0


def test_a_server_that_never_answers_ends_by_the_timeout() -> None:
    tally = drive(Paced(first=30, last=60), timeout=0.3)
    assert tally.errors == {"timeout": 4}
    assert tally.requests == 0


def test_the_request() -> None:
    at = Endpoint("127.0.0.1", 8000, "budgie", "secret")
    head, _, content = wire(at, len(TOPICS) + 1, stream=True).partition(b"\r\n\r\n")
    assert b"Authorization: Bearer secret" in head
    assert b"Content-Length: %d" % len(content) in head
    request = json.loads(content)
    assert request["max_tokens"] == request["min_tokens"] == TOKENS
    assert request["ignore_eos"] is True
    assert TOPICS[1] in request["messages"][0]["content"]
