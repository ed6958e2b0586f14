"""The one chat request that every system is sent, and its bytes on the wire."""

import json
from dataclasses import dataclass

TOKENS = 64
"""Tokens that an answer has, unless a load asks for another number: no more, no fewer."""

TOPICS = (
    "a bird that learns to sing", "the colour of the sea", "how bread is made",
    "a walk through the old town", "what the moon does at night", "a letter to a friend",
    "the first snow of the year", "how a bicycle works",
)  # fmt: skip


@dataclass(frozen=True)
class Endpoint:
    """Where a system answers: always a loopback address."""

    host: str
    port: int
    model: str
    key: str = "none"
    adapters: tuple[str, ...] = ()
    """Further models that requests go to, by turns with `model`."""

    @property
    def models(self) -> tuple[str, ...]:
        """All that are asked, in turn."""
        return (self.model, *self.adapters)

    @property
    def base_url(self) -> str:
        """The root of its OpenAI API."""
        return f"http://{self.host}:{self.port}/v1"


def body(
    model: str, topic: int, *, stream: bool, usage: bool = False, tokens: int = TOKENS
) -> dict[str, object]:
    """The JSON body: greedy, and exactly `tokens` long whatever the model wants to say."""
    request: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": f"Tell me about {TOPICS[topic % len(TOPICS)]}."}],
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": stream,
    }
    if usage:
        request["stream_options"] = {"include_usage": True}
    return request


def turns(endpoint: Endpoint, first: int, *, stream: bool, tokens: int = TOKENS) -> list[bytes]:
    """One caller's requests: every topic with every model, beginning at turn `first`."""
    many = len(TOPICS) * len(endpoint.models)
    return [wire(endpoint, first + turn, stream=stream, tokens=tokens) for turn in range(many)]


def wire(endpoint: Endpoint, turn: int, *, stream: bool, tokens: int = TOKENS) -> bytes:
    """A whole HTTP/1.1 request, ready to be written to a kept-alive connection."""
    models = endpoint.models
    # The models take turns within a topic and from one topic to the next.
    model = models[(turn + turn // len(TOPICS)) % len(models)]
    content = json.dumps(body(model, turn, stream=stream, tokens=tokens)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
        f"Authorization: Bearer {endpoint.key}\r\nContent-Type: application/json\r\n"
        f"Accept: {'text/event-stream' if stream else 'application/json'}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
