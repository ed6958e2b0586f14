"""One training document, a dialog or plain prose, with the keys that place it in a split."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from zlib import crc32

Message = dict[str, Any]
"""A chat message as the OpenAI API spells it: role, content, perhaps tool_calls."""

Tool = dict[str, Any]
"""A function tool as the OpenAI API spells it."""

Split = Literal["train", "heldout"]

HELD_OUT_ONE_IN = 16


@dataclass(frozen=True, slots=True)
class Dialog:
    """Messages with the tools they may use, or plain text where ``messages`` is empty."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    text: str = ""
    keys: tuple[str, ...] = ()
    """What training must not see for the answers to count as held out; one a question."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages before the last answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> Message:
        """The last message, which is the assistant's."""
        return self.messages[-1]

    def belongs_to(self, split: Split) -> bool:
        """Train takes dialogs without any held-out key, held-out those whose last key is."""
        if split == "train":
            return not any(map(held_out, self.keys))
        return bool(self.keys) and held_out(self.keys[-1])


Maker = Callable[[Random], Dialog]
"""A family of dialogs: the same random state gives the same dialog."""


def held_out(key: str) -> bool:
    """Whether the key falls in the held-out sixteenth, the same on every machine."""
    return crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def user(content: str) -> Message:
    """A message of the user."""
    return {"role": "user", "content": content}


def system(content: str) -> Message:
    """A system prompt."""
    return {"role": "system", "content": content}


def assistant(content: str) -> Message:
    """An answer of the model."""
    return {"role": "assistant", "content": content}


def ask(question: str, answer: str, *, key: str | None = None) -> Dialog:
    """A single question with its answer; the key is the question unless another is given."""
    return Dialog(messages=(user(question), assistant(answer)), keys=(key or question,))


def join(*dialogs: Dialog, lead: str | None = None) -> Dialog:
    """The dialogs as one conversation, after an optional system prompt."""
    head = (system(lead),) if lead else ()
    return Dialog(
        messages=head + tuple(message for dialog in dialogs for message in dialog.messages),
        tools=tuple(tool for dialog in dialogs for tool in dialog.tools),
        keys=tuple(key for dialog in dialogs for key in dialog.keys),
    )
