"""Usage events as messages and as rows."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.store import schema
from cluster.usage.event import UsageEvent

EVENT = UsageEvent(
    request_id="req-1",
    organization_id="org-1",
    project_id="proj-1",
    key_id="key-1",
    endpoint="/v1/chat/completions",
    model="budgie",
    stream=True,
    status=200,
    prompt_tokens=12,
    completion_tokens=64,
    latency_ms=1234.5,
    started_at=datetime(2026, 11, 21, 10, 30, tzinfo=UTC),
)


def test_it_has_the_columns_of_its_row() -> None:
    columns = {column.name for column in schema.UsageEvent.__table__.columns}
    assert {field.name for field in fields(UsageEvent)} == columns


@given(
    end_user=st.none() | st.text(alphabet=st.characters()),
    ttft_ms=st.none() | st.floats(0, 1e9),
    tokens=st.integers(0, 2**31 - 1),
)
def test_it_survives_the_stream(end_user, ttft_ms, tokens) -> None:
    event = replace(EVENT, end_user=end_user, ttft_ms=ttft_ms, prompt_tokens=tokens)
    assert UsageEvent.from_fields({b"event": event.to_json().encode()}) == event


@pytest.mark.parametrize(
    "message",
    [
        {},
        {b"event": b""},
        {b"event": b"[]"},
        {b"event": b"\xff"},
        {b"event": b'{"request_id": "x"}'},
        *(
            {b"event": json.dumps({**json.loads(EVENT.to_json()), **wrong}).encode()}
            for wrong in (
                {"extra": 1},
                {"status": "200"},
                {"status": True},
                {"prompt_tokens": -1},
                {"prompt_tokens": 2**31},
                {"model": None},
                {"latency_ms": "1"},
                {"latency_ms": float("nan")},
                {"started_at": "yesterday"},
                {"started_at": 5},
                {"started_at": "2026-11-21T10:30:00"},
            )
        ),
    ],
)
def test_what_is_no_event_says_why(message) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        UsageEvent.from_fields(message)


def test_text_is_made_to_fit_its_column() -> None:
    row = replace(EVENT, end_user="a\0b\ud800" + "c" * 300).row()
    assert row["end_user"] == "ab?" + "c" * 252
    assert row["model"] == "budgie"
