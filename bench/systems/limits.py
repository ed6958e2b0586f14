"""Limits that no load reaches, so that each request takes the way of a limited one."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import NamedTuple

from bench.chat import Endpoint, body

PATH = "/v1/organization/limits"
HIGH = dict.fromkeys(
    ("requests_per_minute", "requests_per_day", "tokens_per_minute", "max_concurrent"), 100_000_000
)
HEARD_S = 5.0
"""How long the routers may take to hear of it; they promise one second."""


class Answer(NamedTuple):
    """A JSON answer and its headers."""

    content: dict[str, object]
    headers: dict[str, str]


def switch_on(endpoint: Endpoint) -> None:
    """Set them, and raise RuntimeError unless they are stored and answers are counted by them."""
    _ask(endpoint, "POST", PATH, HIGH)
    stored = _ask(endpoint, "GET", PATH).content
    if not HIGH.items() <= stored.items():
        raise RuntimeError(f"the limits are not those that were set: {stored}")
    deadline = time.monotonic() + HEARD_S
    while not _counted(_ask(endpoint, "POST", "/v1/chat/completions", _one(endpoint)).headers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"answers are not counted {HEARD_S:g} s after limits were set")
        time.sleep(0.1)


def _one(endpoint: Endpoint) -> dict[str, object]:
    return {**body(endpoint.model, 0, stream=False), "max_tokens": 1, "min_tokens": 1}


def _counted(headers: dict[str, str]) -> bool:
    """Whether the answer tells what is left of requests and of tokens."""
    limits = [headers.get(f"x-ratelimit-limit-{name}") for name in ("requests", "tokens")]
    return limits == [str(HIGH["requests_per_minute"]), str(HIGH["tokens_per_minute"])]


def _ask(
    endpoint: Endpoint, method: str, path: str, content: Mapping[str, object] | None = None
) -> Answer:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=120)
    try:
        headers = {
            "Authorization": f"Bearer {endpoint.key}",
            "Content-Type": "application/json",
        }
        connection.request(method, path, None if content is None else json.dumps(content), headers)
        answer = connection.getresponse()
        read = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: HTTP {answer.status}: {read[:500]!r}")
    return Answer(json.loads(read), {name.lower(): one for name, one in answer.getheaders()})
