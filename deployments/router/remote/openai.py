"""OpenAI's protocol to a provider that speaks it: nothing changes but the model's name."""

from __future__ import annotations

import orjson

from deployments.router.counts import openai_usage
from deployments.router.remote.faults import from_event, garbage
from deployments.router.remote.passage import Document, Passage, openai_object
from deployments.router.remote.sse import Event, written

HOLDS = {
    "/v1/chat/completions": "choices",
    "/v1/completions": "choices",
    "/v1/embeddings": "data",
    "/v1/responses": "output",
}
"""The list that a whole answer has."""
DONE = b"[DONE]"
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ELSEWHERE = frozenset({"server_error", "rate_limit_exceeded"})
"""Failures that say nothing of the request: another destination may answer it."""


def without_ours(body: Document, model: str) -> Document:
    """The caller's body for another provider: its own name, and nothing that steers our engine."""
    return {**{field: body[field] for field in body if field != "cache_salt"}, "model": model}


class OpenAI(Passage):
    """Chats, text completions and embeddings."""

    _finished = False
    """Whether one of the answers has come to its end."""
    _usage: Document | None = None
    """The event that tells the counts."""

    @property
    def path(self) -> str:
        return self.exchange.endpoint.removeprefix("/v1")

    def body(self) -> Document:
        body = without_ours(self.exchange.document, self.target.model)
        if self.exchange.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return body

    def whole(self, document: Document) -> Document | None:
        self.check(document, field=HOLDS[self.exchange.endpoint], kind=list)
        counted = openai_usage(document.get("usage"))
        if counted is not None:
            self.exchange.usage = counted
        elif "choices" in document or "output" in document:  # else nothing was made
            self.estimate(document)
        return None

    def done_by(self, event: Event) -> bytes | None:
        return self._close() if event.data.strip() == DONE else None

    def event(self, event: Event, document: Document) -> bytes:
        choices = document.get("choices")
        if not isinstance(choices, list):
            # Nothing that the protocol knows, such as a warning: whoever asked may know it.
            return written(event.data)
        if any(isinstance(each, dict) and each.get("finish_reason") for each in choices):
            self._finished = True
        if document.get("usage") is None:
            return written(event.data)
        counted = openai_usage(document["usage"])
        if counted is not None:
            usage = openai_object(counted, document["usage"])
            self._usage = {**document, "choices": [], "usage": usage}
        if not choices:
            return b""  # it comes right before the end, once
        if self._continuous:
            return written(event.data)
        return written(orjson.dumps({**document, "usage": None}))

    @property
    def _continuous(self) -> bool:
        options = self.exchange.document.get("stream_options") or {}
        return self.exchange.usage_wanted and bool(options.get("continuous_usage_stats"))

    def end(self) -> bytes:
        # Some providers leave the last line out.
        return self._close() if self._finished else super().end()

    def _close(self) -> bytes:
        self.done = True
        usage = b"" if self._usage is None else written(orjson.dumps(self._usage))
        return usage + written(DONE)


class Responses(OpenAI):
    """`/v1/responses`, whose stream has named events and the counts in the last one."""

    silent = frozenset({"response.created", "response.queued", "response.in_progress"})

    def body(self) -> Document:
        return without_ours(self.exchange.document, self.target.model)

    def done_by(self, event: Event) -> bytes | None:
        return b"" if event.data.strip() == DONE else None

    def event(self, event: Event, document: Document) -> bytes:
        kind = document.get("type")
        if kind == "error":
            raise from_event(self.provider, self.target.name, document)
        # A line's end within a document says nothing, and would cut the event into lines.
        data = event.data.replace(b"\n", b" ")
        if not isinstance(kind, str):
            return written(data)  # nothing that the protocol knows, whatever its name
        if kind in _ENDS or kind in self.silent:
            inner = document.get("response")
            if not isinstance(inner, dict):
                raise garbage(self.provider, f"a {kind} without a response")
            if kind in _ENDS:
                self._end(kind, inner)
        return written(data, kind.encode())

    def _end(self, kind: str, response: Document) -> None:
        if kind == "response.failed":
            error = response.get("error")
            code = error.get("code") if isinstance(error, dict) else None
            if not self.under_way and str(code) in _ELSEWHERE:
                raise from_event(self.provider, self.target.name, response)
            self.exchange.error_code = "upstream_error"
        self.done = True

    def end(self) -> bytes:
        return Passage.end(self)
