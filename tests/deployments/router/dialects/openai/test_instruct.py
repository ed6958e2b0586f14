"""Where a virtual model's system prompt goes."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.router.dialects.anthropic.instruct import instruct_messages
from deployments.router.dialects.openai.instruct import instruct_chat

USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("first", "content"),
    [
        ([], "Be kind."),
        ([{"role": "system", "content": "Be brief."}], "Be kind.\n\nBe brief."),
        ([{"role": "developer", "content": "Be brief."}], "Be kind.\n\nBe brief."),
        (
            [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}],
            [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}],
        ),
    ],
)
def test_a_chat_has_one_system_message(first: list[dict[str, Any]], content: object) -> None:
    given = [*first, USER]
    body: dict[str, Any] = {"messages": given}
    instruct_chat(body, "Be kind.")
    system, *others = body["messages"]
    assert (system["role"], system["content"]) == (
        first[0]["role"] if first else "system", content,
    )  # fmt: skip
    assert others == [USER]
    assert given == [*first, USER], "a copy of the request is sent as it came"


@pytest.mark.parametrize(
    ("own", "system"),
    [
        (None, "Be kind."),
        ("Be brief.", "Be kind.\n\nBe brief."),
        (
            [{"type": "text", "text": "Be brief."}],
            [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}],
        ),
    ],
)
def test_messages_have_a_field_for_it(own: object, system: object) -> None:
    body: dict[str, Any] = {"messages": [USER], **({} if own is None else {"system": own})}
    instruct_messages(body, "Be kind.")
    assert body == {"messages": [USER], "system": system}


def test_messages_that_are_none_are_left_for_the_check() -> None:
    body: dict[str, Any] = {"messages": "hi"}
    instruct_chat(body, "Be kind.")
    assert body == {"messages": "hi"}
