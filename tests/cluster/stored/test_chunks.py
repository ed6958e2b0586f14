"""A stream's chunks make the answer that there would have been without a stream."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.stored.chunks import completion

texts = st.lists(st.text(max_size=4), max_size=4)
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "budgie"}


def chunk(index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **more}
    return {**HEAD, "choices": [choice]}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=5)), max_size=20))
def test_answers_that_come_mixed_are_told_apart(pieces: list[tuple[int, str]]) -> None:
    chunks = [chunk(n, {"role": "assistant", "content": ""}) for n in range(3)]
    chunks += [
        chunk(n, {"content": text}, logprobs={"content": [{"token": text}]}) for n, text in pieces
    ]
    chunks += [chunk(n, {}, finish_reason="stop", stop_reason=7) for n in (2, 0, 1)]
    made = completion([*chunks, {**HEAD, "choices": [], "usage": {"total_tokens": 3}}])
    assert (made["object"], made["id"], made["usage"]) == (
        "chat.completion", "chatcmpl-1", {"total_tokens": 3},
    )  # fmt: skip
    assert [choice["index"] for choice in made["choices"]] == [0, 1, 2]
    for number, choice in enumerate(made["choices"]):
        own = [text for n, text in pieces if n == number]
        assert choice["message"] == {"role": "assistant", "content": "".join(own)}
        tokens = None if not own else {"content": [{"token": text} for text in own]}
        assert choice["logprobs"] == tokens
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", 7)


@settings(max_examples=30)
@given(st.lists(texts, min_size=1, max_size=3), texts)
def test_tool_calls_come_together_from_their_pieces(
    arguments: list[list[str]], reasoning: list[str]
) -> None:
    chunks = [chunk(0, {"role": "assistant", "content": None})]
    chunks += [chunk(0, {"reasoning": text}) for text in reasoning]
    for number, pieces in enumerate(arguments):
        begin = {"name": f"f{number}", "arguments": ""}
        call: dict[str, Any] = {
            "index": number, "id": f"c{number}", "type": "function", "function": begin,
        }  # fmt: skip
        chunks.append(chunk(0, {"tool_calls": [call]}))
        for text in pieces:
            piece = {"index": number, "function": {"arguments": text}}
            chunks.append(chunk(0, {"tool_calls": [piece]}))
    (choice,) = completion(chunks)["choices"]
    expected: dict[str, Any] = {"role": "assistant", "content": None}
    if reasoning:
        expected["reasoning"] = "".join(reasoning)
    expected["tool_calls"] = [
        {
            "id": f"c{n}",
            "type": "function",
            "function": {"name": f"f{n}", "arguments": "".join(pieces)},
        }
        for n, pieces in enumerate(arguments)
    ]
    assert choice["message"] == expected
