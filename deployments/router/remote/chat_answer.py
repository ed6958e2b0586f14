"""Anthropic's answer to a chat completion, as a whole and as a stream."""

from __future__ import annotations

import time
from typing import Any

import orjson

from deployments.router.counts import anthropic_usage
from deployments.router.exchange import Usage
from deployments.router.remote.chat_request import to_messages
from deployments.router.remote.faults import garbage
from deployments.router.remote.passage import (
    ANTHROPIC_SILENT,
    Document,
    Passage,
    openai_object,
)
from deployments.router.remote.sse import Event, written

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish(reason: object) -> str:
    return FINISHES.get(reason, "stop") if isinstance(reason, str) else "stop"


def to_completion(message: Document, created: int) -> Document:
    """A whole message as a chat completion."""
    texts, thoughts, calls = [], [], []
    for block in message["content"]:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
    answer: Document = {
        "role": "assistant", "content": "".join(texts) if texts else None, "refusal": None
    }  # fmt: skip
    if thoughts:
        answer["reasoning"] = "".join(thoughts)
    if calls:
        answer["tool_calls"] = calls
    counted = anthropic_usage(message.get("usage"))
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model"),
        "choices": [
            {
                "index": 0,
                "message": answer,
                "logprobs": None,
                "finish_reason": finish(message.get("stop_reason")),
            }
        ],
        "usage": None if counted is None else openai_object(counted),
    }


class ChatOverMessages(Passage):
    """A chat completion that a provider answers who speaks Anthropic's protocol."""

    silent = ANTHROPIC_SILENT

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._head: Document = {}
        self._calls: dict[int, int] = {}
        """By the index of the block: which of the tool calls it is."""
        self._silent_calls: set[int] = set()
        """Calls of whose arguments nothing has come."""
        self._usage = Usage()
        self._counted = False

    @property
    def path(self) -> str:
        return "/v1/messages"

    def body(self) -> Document:
        return to_messages(self.exchange.document, self.target.model)

    def whole(self, document: Document) -> Document | None:
        self.check(document, field="content", kind=list)
        counted = anthropic_usage(document.get("usage"))
        if counted is None:
            self.estimate(document)
        else:
            self.exchange.usage = counted
        return to_completion(document, int(time.time()))

    def event(self, event: Event, document: Document) -> bytes:
        match document.get("type"):
            case "message_start":
                return self._start(document)
            case "content_block_start":
                return self._block(document)
            case "content_block_delta":
                return self._delta(document)
            case "content_block_stop":
                return self._stop(document)
            case "message_delta":
                return self._end_of_message(document)
            case "message_stop":
                self.done = True
                return self._counts() + written(b"[DONE]")
            case _:
                return b""

    def _start(self, document: Document) -> bytes:
        message = document.get("message")
        if not isinstance(message, dict):
            raise garbage(self.provider, "a message_start without a message")
        self._head = {
            "id": message.get("id"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": message.get("model"),
        }
        self._count(message.get("usage"))
        return self._chunk({"role": "assistant", "content": ""})

    def _block(self, document: Document) -> bytes:
        block, index = document.get("content_block"), document.get("index")
        if not isinstance(block, dict) or not isinstance(index, int):
            raise garbage(self.provider, "a content_block_start without a block")
        if block.get("type") == "text" and block.get("text"):
            return self._chunk({"content": block["text"]})
        if block.get("type") != "tool_use":
            return b""
        number = self._calls[index] = len(self._calls)
        self._silent_calls.add(index)
        function = {"name": block.get("name"), "arguments": ""}
        call = {"index": number, "id": block.get("id"), "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _delta(self, document: Document) -> bytes:
        delta, index = document.get("delta"), document.get("index")
        if not isinstance(delta, dict) or not isinstance(index, int):
            raise garbage(self.provider, "a content_block_delta without a delta")
        match delta.get("type"):
            case "text_delta":
                return self._chunk({"content": delta.get("text") or ""})
            case "thinking_delta":
                return self._chunk({"reasoning": delta.get("thinking") or ""})
            case "input_json_delta" if index in self._calls and delta.get("partial_json"):
                return self._arguments(index, delta["partial_json"])
            case _:  # signatures, citations
                return b""

    def _arguments(self, index: int, text: object) -> bytes:
        self._silent_calls.discard(index)
        call = {"index": self._calls[index], "function": {"arguments": text}}
        return self._chunk({"tool_calls": [call]})

    def _stop(self, document: Document) -> bytes:
        # A call without arguments; clients of this protocol read them as JSON.
        index = document.get("index")
        silent = isinstance(index, int) and index in self._silent_calls
        return self._arguments(index, "{}") if isinstance(index, int) and silent else b""

    def _end_of_message(self, document: Document) -> bytes:
        self._count(document.get("usage"))
        delta = document.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        return b"" if reason is None else self._chunk({}, finish(reason))

    def _count(self, usage: object) -> None:
        """The counts are the sums so far; the last event may leave the input's out."""
        counted = anthropic_usage(usage)
        if counted is None:
            return
        self._counted = True
        if counted.prompt:
            self._usage.prompt, self._usage.cached = counted.prompt, counted.cached
        self._usage.completion = counted.completion
        self.exchange.usage.prompt = self._usage.prompt or self.exchange.usage.prompt

    def _counts(self) -> bytes:
        if not self._counted:
            return b""
        event = {**self._head, "choices": [], "usage": openai_object(self._usage)}
        return written(orjson.dumps(event))

    def _chunk(self, delta: Document, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return written(orjson.dumps({**self._head, "choices": [choice]}))
