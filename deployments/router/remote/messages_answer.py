"""A chat completion as Anthropic's message, as a whole and as a stream."""

from __future__ import annotations

from typing import Any

import orjson

from deployments.router.counts import openai_usage
from deployments.router.exchange import Usage
from deployments.router.remote.faults import garbage
from deployments.router.remote.messages_request import to_chat
from deployments.router.remote.passage import (
    Document,
    Passage,
    anthropic_object,
)
from deployments.router.remote.sse import Event, written

REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_THOUGHTS = ("reasoning", "reasoning_content")
"""What providers call a model's thoughts."""


def stop(choice: Document, *, called: bool) -> tuple[str, str | None]:
    """The stop reason and the stop sequence. Some tell neither calls nor what stopped them."""
    reason = REASONS.get(str(choice.get("finish_reason")), "end_turn")
    if called and reason == "end_turn":
        return "tool_use", None
    found = choice.get("stop_reason")  # vLLM's
    if reason == "end_turn" and isinstance(found, str):
        return "stop_sequence", found
    return reason, None


def thought(said: Document) -> str:
    return next((str(said[field]) for field in _THOUGHTS if said.get(field)), "")


class MessagesOverChat(Passage):
    """A message that a provider answers who speaks OpenAI's protocol."""

    def __init__(self, *given: Any, bound: str) -> None:
        super().__init__(*given)
        self._bound = bound
        self._begun = False
        self._kind = ""
        """Of the block that is open, empty where none is."""
        self._index = -1
        self._call: int | None = None
        """Which of the tool calls the open block is."""
        self._calls: set[int] = set()
        self._last: Document | None = None
        """The choice that told how it ended."""
        self._usage: Usage | None = None
        self._deltas = 0

    @property
    def path(self) -> str:
        return "/chat/completions"

    def body(self) -> Document:
        return to_chat(self.exchange.document, self.target.model, self._bound)

    def whole(self, document: Document) -> Document | None:
        self.check(document, field="choices", kind=list)
        choice = next(iter(document["choices"]), None)
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise garbage(self.provider, "a completion without a message")
        blocks: list[Document] = []
        if thoughts := thought(message):
            blocks.append({"type": "thinking", "thinking": thoughts, "signature": ""})
        if text := message.get("content") or message.get("refusal"):
            blocks.append({"type": "text", "text": str(text)})
        calls = message.get("tool_calls") or []
        cut = choice.get("finish_reason") == "length"
        blocks += [self._tool_use(call, cut=cut) for call in calls]
        reason, sequence = stop(choice, called=bool(calls))
        counted = openai_usage(document.get("usage"))
        if counted is None:
            self.estimate(document)
        else:
            self.exchange.usage = counted
        return {
            "id": str(document.get("id") or self.exchange.id),
            "type": "message",
            "role": "assistant",
            "model": document.get("model") or self.target.model,
            "content": blocks,
            "stop_reason": "refusal" if message.get("refusal") else reason,
            "stop_sequence": sequence,
            "usage": anthropic_object(self.exchange.usage),
        }

    def _tool_use(self, call: object, *, cut: bool) -> Document:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise garbage(self.provider, "a tool call that is none of a function")
        try:
            given = orjson.loads(function.get("arguments") or "{}")
        except (orjson.JSONDecodeError, TypeError):
            if not cut:  # what the bound of the length has cut is no JSON
                raise garbage(self.provider, "arguments of a tool that are no JSON") from None
            given = {}
        return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"),
                "input": given if isinstance(given, dict) else {}}  # fmt: skip

    # The stream.

    def done_by(self, event: Event) -> bytes | None:
        return self._close() if event.data.strip() == b"[DONE]" else None

    def event(self, event: Event, document: Document) -> bytes:
        counted = openai_usage(document.get("usage"))
        if counted is not None:
            self._usage = counted
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return b""
        made = b"" if self._begun else self._begin(document)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            made += self._delta(delta)
        if choice.get("finish_reason") is not None:
            self._last = choice
        return made

    def _begin(self, document: Document) -> bytes:
        self._begun = True
        message: Document = {
            "id": str(document.get("id") or self.exchange.id),
            "type": "message",
            "role": "assistant",
            "model": document.get("model") or self.target.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Their count comes at the end.
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _event("message_start", message=message)

    def _delta(self, delta: Document) -> bytes:
        made = b""
        if thoughts := thought(delta):
            made += self._in("thinking", {"thinking": "", "signature": ""})
            made += self._add("thinking_delta", thinking=thoughts)
        if text := delta.get("content") or delta.get("refusal"):
            made += self._in("text", {"text": ""})
            made += self._add("text_delta", text=str(text))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(call, dict) or not isinstance(function, dict):
                raise garbage(self.provider, "a tool call that is none of a function")
            made += self._tool(call, function)
        return made

    def _tool(self, call: Document, function: Document) -> bytes:
        made = b""
        number = call.get("index")
        if not isinstance(number, int):  # who gives no number begins a call with its name
            number = len(self._calls) - (0 if function.get("name") else 1)
        if number not in self._calls:
            self._calls.add(number)
            made = self._open(
                "tool_use",
                {"id": call.get("id"), "name": function.get("name"), "input": {}},
            )
            self._call = number
        elif number != self._call:
            raise garbage(self.provider, "tool calls that are mixed with one another")
        if arguments := function.get("arguments"):
            made += self._add("input_json_delta", partial_json=str(arguments))
        return made

    def _in(self, kind: str, block: Document) -> bytes:
        return b"" if self._kind == kind else self._open(kind, block)

    def _open(self, kind: str, block: Document) -> bytes:
        made = self._shut()
        self._kind, self._index = kind, self._index + 1
        return made + _event(
            "content_block_start", index=self._index, content_block={"type": kind, **block}
        )

    def _add(self, kind: str, **what: str) -> bytes:
        self._deltas += 1
        return _event("content_block_delta", index=self._index, delta={"type": kind, **what})

    def _shut(self) -> bytes:
        if not self._kind:
            return b""
        self._kind, self._call = "", None
        return _event("content_block_stop", index=self._index)

    def end(self) -> bytes:
        return super().end() if self._last is None else self._close()

    def _close(self) -> bytes:
        if self._last is None:
            return super().end()
        self.done = True
        reason, sequence = stop(self._last, called=bool(self._calls))
        usage = {"output_tokens": self._deltas}  # about one a token, where nobody has counted
        if self._usage is not None:
            usage = anthropic_object(self._usage)
        return (
            self._shut()
            + _event(
                "message_delta",
                delta={"stop_reason": reason, "stop_sequence": sequence},
                usage=usage,
            )
            + _event("message_stop")
        )


def _event(kind: str, **more: Any) -> bytes:
    return written(orjson.dumps({"type": kind, **more}), kind.encode())
