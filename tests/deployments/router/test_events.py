"""Streams cut at any bytes: the caller gets the same ones, and the counts are the same."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange, Usage

TRANSCRIPTS = Path(__file__).parent / "transcripts"
ENGINES = sorted(TRANSCRIPTS.glob("*.engine"))
PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions", "messages": "/v1/messages"}


def passed(name: str, pieces: list[bytes], *, wanted: bool) -> tuple[bytes, Usage, str | None]:
    """What the caller gets of the engine's `pieces`, and what is accounted."""

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is sent or received here")

    path = PATHS[name.split("-")[0]]
    exchange = Exchange(path, {}, never, never)
    exchange.usage_wanted = wanted
    events = ENDPOINTS[path].dialect.events(exchange)
    sent = b"".join(events.feed(piece) for piece in pieces) + events.rest
    return sent, exchange.usage, exchange.error_code


@pytest.mark.parametrize("engine", ENGINES, ids=lambda path: path.stem)
@settings(max_examples=25)
@given(data=st.data())
def test_any_cut_gives_the_same_bytes(engine: Path, data: st.DataObject) -> None:
    whole = engine.read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12), "cuts"))
    wanted = data.draw(st.booleans(), "usage wanted")
    ends = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(ends)]
    assert passed(engine.stem, pieces, wanted=wanted) == passed(engine.stem, [whole], wanted=wanted)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda path: path.stem)
def test_byte_by_byte(engine: Path) -> None:
    whole = engine.read_bytes()
    bytewise = [whole[at : at + 1] for at in range(len(whole))]
    assert passed(engine.stem, bytewise, wanted=True) == passed(engine.stem, [whole], wanted=True)


TEXTS = st.text('ab\n\r\\"{}[]:,é☃ ', max_size=20) | st.sampled_from(
    ['data: {"error"', "data: [DONE]", '"choices":[]', "event: error\n", "\n\n", "event: message_"]
)


@settings(max_examples=50)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), cut=st.integers(0, 400))
def test_no_text_of_a_model_is_taken_for_the_protocol(texts: list[str], cut: int) -> None:
    """A model may write what a stream's own events begin with: inside JSON it is only text."""
    made = b"".join(
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"
        for text in texts
    )
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    done = b"data: [DONE]\n\n"
    whole = made + counts + done
    for wanted, expected in ((False, made + done), (True, whole)):
        sent, usage, error = passed("chat", [whole[:cut], whole[cut:]], wanted=wanted)
        assert (sent, usage, error) == (expected, Usage(3, 2, 0), None)


@settings(max_examples=50)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), cut=st.integers(0, 400))
def test_no_text_is_taken_for_the_protocol_of_messages(texts: list[str], cut: int) -> None:
    def event(kind: str, **more: Any) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            orjson.dumps({"type": kind, **more}),
        )

    usage = {"input_tokens": 3, "output_tokens": 2}
    whole = (
        event("message_start", message={"usage": {"input_tokens": 3}})
        + b"".join(event("content_block_delta", delta={"text": text}) for text in texts)
        + event("message_delta", delta={}, usage=usage)
        + event("message_stop")
    )
    sent, counted, error = passed("messages", [whole[:cut], whole[cut:]], wanted=False)
    assert (sent, counted, error) == (whole, Usage(3, 2, 0), None)
