"""Chat completions that their callers want stored."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from cluster.stored.chunks import completion
from cluster.stored.completions import Completions
from cluster.stored.labels import labels
from cluster.stored.saver import Saver
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.document import boolean
from deployments.router.exchange import Exchange, Usage
from deployments.router.pipeline import Step

log = logging.getLogger(__name__)

_DONE = b"data: [DONE]\n\n"
MAX_ID = 255
"""Characters. A provider gives whatever it likes."""
ECHOED = (
    "seed",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "tool_choice",
    "response_format",
)
"""Fields of the request that a stored completion has too."""


class KeepChat:
    """Step 3 with a look at `store`: a request without it pays nothing but that."""

    def __init__(self, parse: Step, saver: Saver, completions: Completions) -> None:
        self._parse = parse
        self._saver = saver
        self._completions = completions

    async def __call__(self, exchange: Exchange) -> None:
        await self._parse(exchange)
        body = exchange.document
        if "store" not in body:
            return
        store = boolean(body, "store")
        del body["store"]  # here is the store, not in an engine or at a provider
        if not store:
            return
        pairs = labels(body.pop("metadata", None))
        await self._saver.reach()
        exchange.record = ChatRecord(self._saver, self._completions, exchange, pairs)


class ChatRecord:
    def __init__(
        self, saver: Saver, completions: Completions, exchange: Exchange, pairs: dict[str, str]
    ) -> None:
        assert exchange.principal is not None, "authenticate comes before parse"
        self._saver = saver
        self._completions = completions
        self._exchange = exchange
        self._who: Principal = exchange.principal
        self._messages = exchange.asked["messages"]
        self._labels = pairs
        self._echo = {field: exchange.document.get(field) for field in ECHOED}
        self._pieces: list[bytes] = []

    async def whole(self, body: bytes) -> bytes:
        await self._keep(orjson.loads(body))
        return body

    async def events(self, ready: bytes) -> bytes:
        self._pieces.append(ready)
        if ready.endswith(_DONE) and self._exchange.error_code is None:
            lines = b"".join(self._pieces).removesuffix(_DONE).split(b"\n\n")
            made = completion(orjson.loads(line.removeprefix(b"data: ")) for line in lines if line)
            # The caller may not have asked for the counts, which are in the stream only then.
            await self._keep({**made, "usage": made.get("usage") or _usage(self._exchange.usage)})
        return ready

    async def _keep(self, answer: dict[str, Any]) -> None:
        identifier = answer.get("id")
        if not isinstance(identifier, str) or not 1 <= len(identifier) <= MAX_ID:
            log.warning("request %s is not stored: its answer has no id", self._exchange.id)
            return
        kept = {
            **self._echo,
            **answer,
            "request_id": self._exchange.id,
            "input_user": self._exchange.user,
        }
        await self._saver.save(
            f"chat completion {identifier}",
            lambda: self._completions.add(self._who, self._messages, kept, self._labels),
        )


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
