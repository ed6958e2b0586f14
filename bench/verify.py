"""One streaming and one plain answer of a system, looked at closely before it is measured."""

import http.client
import json
from dataclasses import dataclass

from bench.chat import TOKENS, Endpoint, body


@dataclass(frozen=True)
class Verified:
    """What the two answers held; they are 64 tokens each or `verify` raises."""

    events: int
    text: str
    """The text of the plain answer: systems with the same engine should agree on it."""


def verify(endpoint: Endpoint) -> Verified:
    """Ask twice; raise ValueError with the reason if an answer is not what was asked for."""
    plain = json.loads(_ask(endpoint, stream=False))
    _expect(plain["usage"]["completion_tokens"] == TOKENS, f"plain: usage {plain['usage']}")
    _expect(plain["choices"][0]["finish_reason"] == "length", "plain: finish_reason")
    text = plain["choices"][0]["message"]["content"]

    lines = _ask(endpoint, stream=True).decode().splitlines()
    data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    _expect(bool(data) and data[-1] == "[DONE]", "stream: it does not end with [DONE]")
    chunks = [json.loads(one) for one in data[:-1]]
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    _expect(usage is not None and usage["completion_tokens"] == TOKENS, f"stream: usage {usage}")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    streamed = "".join(choice["delta"].get("content") or "" for choice in choices)
    _expect(streamed == text, f"stream: {streamed!r} is not the plain answer {text!r}")
    return Verified(events=len(data), text=text)


def _ask(endpoint: Endpoint, *, stream: bool) -> bytes:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=120)
    try:
        content = json.dumps(body(endpoint.model, 0, stream=stream, usage=stream))
        headers = {
            "Authorization": f"Bearer {endpoint.key}",
            "Content-Type": "application/json",
        }
        connection.request("POST", "/v1/chat/completions", content, headers)
        answer = connection.getresponse()
        read = answer.read()
    finally:
        connection.close()
    _expect(answer.status == 200, f"HTTP {answer.status}: {read[:500]!r}")
    return read


def _expect(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
