"""Event streams, however they are cut and whatever ends their lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.router.remote import sse
from deployments.router.remote.sse import Cutter, Event, EventTooLarge, written

TEXT = st.text("a: é{}", max_size=6)
NAME = st.sampled_from(["", "message_start", "ping"])
EVENTS = st.lists(st.tuples(NAME, st.lists(TEXT, min_size=1, max_size=3)), max_size=4)
END = st.sampled_from(["\n", "\r\n", "\r"])


def cut(text: bytes, places: list[int]) -> list[Event]:
    cutter, found, begin = Cutter(), [], 0
    for place in [*sorted(place % (len(text) + 1) for place in places), len(text)]:
        found += cutter.feed(text[begin:place])
        begin = place
    return found + cutter.finish()


@settings(max_examples=60)
@given(
    EVENTS, END, st.booleans(), st.lists(st.integers(0, 300), max_size=4),
    st.sampled_from(["", ": alive", "id: 7", "retry: 1"]),
)  # fmt: skip
def test_any_cuts_give_the_same_events(
    given: list[tuple[str, list[str]]], end: str, bom: bool, places: list[int], noise: str
) -> None:
    text = "\ufeff" if bom else ""
    for name, lines in given:
        text += f"{noise}{end}" if noise else ""
        text += f"event: {name}{end}" if name else ""
        text += "".join(f"data: {line}{end}" for line in lines) + end
    expected = [Event(name.encode(), "\n".join(lines).encode()) for name, lines in given]
    assert cut(text.encode(), places) == expected
    assert cut(text.encode(), list(range(len(text.encode())))) == expected


@given(TEXT.map(str.encode), st.sampled_from([b"", b"ping"]))
def test_what_is_written_is_read_again(data: bytes, name: bytes) -> None:
    assert cut(written(data, name), []) == [Event(name, data)]
    assert cut(written(data + b"\n" + data, name), []) == [Event(name, data + b"\n" + data)]


def test_the_last_event_needs_no_empty_line() -> None:
    assert cut(b"data: a\n\ndata:b", []) == [Event(b"", b"a"), Event(b"", b"b")]


def test_an_event_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT", 100)
    cutter = Cutter()
    cutter.feed(b"data: " + b"a" * 90)
    with pytest.raises(EventTooLarge):
        cutter.feed(b"a" * 90)
