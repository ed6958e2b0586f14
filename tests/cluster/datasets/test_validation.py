from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.datasets.rows import ChatRow, CompletionRow, Shape
from cluster.datasets.validation import rows, validate

USER = {"role": "user", "content": "hi"}
GOOD = {"role": "assistant", "content": "ho"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "prompt", "completion", "tools", "type"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def chat(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"messages": messages, **more}).encode()


@given(st.lists(st.binary(max_size=40)))
def test_arbitrary_bytes_never_raise(chunks: list[bytes]) -> None:
    report = validate(chunks)
    assert report.ok == (report.problem_count == 0)


@QUICK
@given(
    st.lists(
        st.just({"messages": [USER, GOOD]})
        | st.dictionaries(st.sampled_from(["messages", "prompt", "tools"]), JSON),
        max_size=3,
    )
)
def test_arbitrary_json_never_raises(values: list[Any]) -> None:
    report = validate([b"\n".join(json.dumps(value).encode() for value in values)])
    places = {problem.line for problem in report.problems}
    assert report.rows + len(places) == max(len(values), 1), "each line is a row or has a fault"
    assert places <= set(range(1, max(len(values), 1) + 1))
    for problem in report.problems:
        assert f"line {problem.line}" in problem.message.encode().decode()


@pytest.mark.parametrize(
    ("line", "field", "says"),
    [
        (b"\xff{}", None, "UTF-8"),
        (b"{", None, "not JSON"),
        (b"[1]", None, "JSON object"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'{"messages": NaN}', None, "NaN"),
        (b"{}", None, "it needs messages"),
        (b'{"messages": [], "prompt": ""}', None, "both"),
        (b'{"messages": []}', "messages", "something in it"),
        (b'{"messages": "x"}', "messages", "list"),
        (chat(USER, GOOD, id=1), "id", "unknown key"),
        (chat({"role": "bot"}), "messages[0].role", "system, developer, user"),
        (chat({"role": "user"}, GOOD), "messages[0].content", "string or a list"),
        (chat({**USER, "weight": 1}, GOOD), "messages[0].weight", "unknown key"),
        (chat(USER), "messages[0].role", "last message"),
        (chat(GOOD, USER), "messages[1].role", "last message"),
        (chat(USER, {**GOOD, "weight": 2}), "messages[1].weight", "0 and 1"),
        (chat(USER, {**GOOD, "weight": 0}), "messages", "nothing is learned"),
        (chat(USER, {"role": "assistant"}), "messages[1].content", "content or tool_calls"),
        (chat(USER, {"role": "assistant", "content": ""}), "messages[1].content", "empty"),
        (
            chat({"role": "user", "content": [{"type": "image_url"}]}, GOOD),
            "messages[0].content[0].type",
            "text",
        ),
        (
            chat(USER, {"role": "tool", "content": "1", "tool_call_id": "c9"}, GOOD),
            "messages[1].tool_call_id",
            "no tool call",
        ),
        (
            chat(USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f"}}]}),
            "messages[1].tool_calls[0].function.arguments",
            "JSON object",
        ),
        (chat(USER, GOOD, tools=[{"type": "function"}]), "tools[0].function", "object"),
        (chat(USER, GOOD, parallel_tool_calls=1), "parallel_tool_calls", "true or false"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "messages[0].content", "pair"),
        (b'{"prompt": "a"}', "completion", "missing"),
        (b'{"prompt": "a", "completion": ""}', "completion", "learned"),
        (b'{"prompt": 1, "completion": "b"}', "prompt", "string"),
        (b"x" * (1 << 20) + b"y", None, "1048576"),
    ],
)
def test_each_fault_names_its_line_and_field(line: bytes, field: str | None, says: str) -> None:
    good = chat(USER, GOOD)
    report = validate([good, b"\n", line, b"\n", good])
    (problem,) = report.problems
    assert (problem.line, problem.field) == (2, field)
    assert says in problem.message
    assert problem.message.startswith("line 2")
    assert report.rows == 2


def test_good_rows_are_measured_and_normalised() -> None:
    parts = {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answer = {"role": "tool", "content": "1", "tool_call_id": "c1"}
    data = chat(parts, called, answer, GOOD) + b"\r\n" + chat(USER, GOOD) + b"\n\n \n"
    report = validate([data], count_tokens=lambda row: row.characters)
    assert report.ok
    assert (report.shape, report.rows) == (Shape.CHAT, 2)
    assert report.tokens is not None
    assert (report.tokens.total, report.tokens.max) == (10, 6)
    first = next(rows([data]))
    assert isinstance(first, ChatRow)
    assert first.messages[0] == {"role": "user", "content": "a\nb"}, "as vLLM joins them"
    assert first.messages[1]["content"] == ""
    assert first.messages[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_completions() -> None:
    data = b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\n' * 1
    assert list(rows([data])) == [CompletionRow("a", "b")]
    assert validate([data]).shape is Shape.COMPLETION


@pytest.mark.parametrize("data", [b"", b"\n\n  \n"])
def test_a_file_without_rows(data: bytes) -> None:
    report = validate([data])
    assert "no rows" in report.problems[0].message


def test_mixed_shapes_blank_lines_and_duplicates() -> None:
    good, other = chat(USER, GOOD), b'{"prompt": "a", "completion": "b"}'
    report = validate([b"\n".join([good, b"", b" ", other, good, good, b""])])
    assert report.duplicates == 2
    blank, mixed = report.problems
    assert (blank.line, mixed.line) == (2, 4)
    assert "up to line 3" in blank.message
    assert "one shape" in mixed.message


def test_a_row_longer_than_the_context_and_a_template_that_refuses() -> None:
    def count(row: Any) -> int:
        if row.characters > 6:
            raise ValueError("roles must alternate")
        return int(row.characters)

    long, odd = chat(USER, {**GOOD, "content": "hoho"}), chat(USER, {**GOOD, "content": "hohoho"})
    report = validate([long + b"\n" + odd], count_tokens=count, max_tokens=5)
    assert "6 tokens; at most 5" in report.problems[0].message
    assert "roles must alternate" in report.problems[1].message


def test_a_hundred_problems_are_shown_and_all_counted() -> None:
    report = validate([b"{}\n" * 250])
    assert (len(report.problems), report.problem_count) == (100, 250)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_lines() -> None:
    row = chat(USER, GOOD) + b"\n"

    def peak(count: int) -> int:
        def chunks() -> Iterator[bytes]:
            for _ in range(count // 100):
                yield row * 100

        tracemalloc.start()
        validate(chunks())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert len(row) * 12_000 > 1_000_000
    assert peak(12_000) < 400_000
