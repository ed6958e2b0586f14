"""One answer of the paced engine, in vLLM's wire format, from bytes that are made once."""

from dataclasses import dataclass
from typing import Any

WORD = " word"
PROMPT_TOKENS = 9
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class Wire:
    """The parts of a model's answers."""

    begin: bytes
    token: bytes
    finish: bytes
    model: str

    @classmethod
    def of(cls, model: str) -> "Wire":
        """Those of `model`."""
        return cls(
            begin=_event(model, '{"role":"assistant","content":""}', "null"),
            token=_event(model, f'{{"content":"{WORD}"}}', "null"),
            finish=_event(model, "{}", '"length"'),
            model=model,
        )

    def usage(self, tokens: int) -> bytes:
        """The event with the counts."""
        return (
            f'data: {{"id":"chatcmpl-paced","object":"chat.completion.chunk","created":1,'
            f'"model":"{self.model}","choices":[],"usage":{_usage(tokens)}}}\n\n'
        ).encode()

    def whole(self, tokens: int) -> bytes:
        """A plain answer's body."""
        return (
            f'{{"id":"chatcmpl-paced","object":"chat.completion","created":1,'
            f'"model":"{self.model}","choices":[{{"index":0,"message":{{"role":"assistant",'
            f'"content":"{WORD * tokens}"}},"logprobs":null,"finish_reason":"length"}}],'
            f'"usage":{_usage(tokens)}}}'
        ).encode()


def _event(model: str, delta: str, reason: str) -> bytes:
    return (
        f'data: {{"id":"chatcmpl-paced","object":"chat.completion.chunk","created":1,'
        f'"model":"{model}","choices":[{{"index":0,"delta":{delta},"logprobs":null,'
        f'"finish_reason":{reason}}}]}}\n\n'
    ).encode()


def _usage(tokens: int) -> str:
    return (
        f'{{"prompt_tokens":{PROMPT_TOKENS},"total_tokens":{PROMPT_TOKENS + tokens},'
        f'"completion_tokens":{tokens},"prompt_tokens_details":{{"cached_tokens":0}}}}'
    )


class Generation:
    """A request in flight: so many tokens, spread evenly over so many steps."""

    def __init__(self, wire: Wire, request: dict[str, Any], steps: int) -> None:
        self.wire = wire
        self.tokens = int(request.get("max_tokens") or 16)
        self.stream = bool(request.get("stream"))
        self.counted = bool((request.get("stream_options") or {}).get("include_usage"))
        self.steps = steps
        self.done = 0

    @property
    def over(self) -> bool:
        """Whether `step` has said all."""
        return self.done == self.steps

    def step(self) -> bytes:
        """What one step of the engine adds to the answer's body."""
        before = self.tokens * self.done // self.steps
        self.done += 1
        made = self.tokens * self.done // self.steps - before
        if not self.stream:
            return self.wire.whole(self.tokens) if self.over else b""
        events = self.wire.token * made
        if self.done == 1:
            events = self.wire.begin + events
        if self.over:
            events += self.wire.finish
            if self.counted:
                events += self.wire.usage(self.tokens)
            events += b"data: [DONE]\n\n"
        return events

    def framed(self) -> bytes:
        """The same as HTTP/1.1 sends it."""
        body = self.step()
        if not self.stream:
            return PLAIN % len(body) + body if body else b""
        head = STREAM if self.done == 1 else b""
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return head + chunk + (b"0\r\n\r\n" if self.over else b"")
