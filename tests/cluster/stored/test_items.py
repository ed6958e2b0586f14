"""Items of a conversation: what is kept, what goes on, and how a list shows them."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from cluster.stored.items import carried, heard, items, shown


def test_a_text_is_one_message_of_the_user() -> None:
    (item,) = items("hi")
    assert item["id"].startswith("msg_")
    assert shown(item) == {
        "id": item["id"],
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hi"}],
    }


def test_items_keep_what_they_have_and_get_an_id() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    given = [
        {"role": "assistant", "content": "yes"},
        {**call, "id": "fc_own"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "item_reference", "id": None},
    ]
    made = items(given)
    assert [{**item, "id": ""} for item in made] == [{**item, "id": ""} for item in given]
    prefixes = [item["id"].partition("_")[0] for item in made]
    assert prefixes == ["msg", "fc", "fco", "item"]
    assert made[1]["id"] == "fc_own"
    assert "id" not in given[0], "the caller's own stay as they were"
    assert shown(made[0])["content"] == [{"type": "output_text", "text": "yes", "annotations": []}]
    assert shown(made[1]) == made[1]


@pytest.mark.parametrize(
    ("given", "param"), [(None, "input"), (5, "input"), ({}, "input"), (["a"], "input[0]")]
)
def test_what_is_no_input_is_named(given: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        items(given)
    assert refused.value.param == param


def test_an_output_goes_on_without_what_only_its_reader_wants() -> None:
    text = {"type": "output_text", "text": "a", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None}
    output = [
        thought,
        {**message, "content": [{**text, "logprobs": [{"token": "a"}]}]},
    ]
    assert carried(output) == [thought, message]


def test_an_engine_hears_an_assistants_message_as_one_text() -> None:
    part = {"type": "output_text", "text": "a", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    refusal = {"type": "refusal", "refusal": "b"}
    user = {"role": "user", "content": []}
    odd = [{**message, "content": ["a"]}, {**message, "content": [{"type": "output_text"}]}]
    heard_of = heard([message, {**message, "content": [part, refusal]}, user, *odd])
    assert heard_of == [message, {**message, "content": [{**part, "text": "ab"}]}, user, *odd]
    assert heard([{**message, "content": []}, {**message, "content": [{**part, "text": ""}]}]) == []
