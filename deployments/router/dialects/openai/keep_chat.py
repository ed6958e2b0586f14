"""Chat completions that their callers want stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What comes of putting together chunks that are not of the shape that they should have."""
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

    def __init__(self, parse: Step, saver: Saver, completions: Completions, max_bytes: int) -> None:
        """`max_bytes`: of an answer that is stored."""
        self._parse = parse
        self._saver = saver
        self._completions = completions
        self._max_bytes = max_bytes

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
        exchange.record = ChatRecord(
            self._saver, self._completions, exchange, pairs, self._max_bytes
        )


class ChatRecord:
    def __init__(
        self,
        saver: Saver,
        completions: Completions,
        exchange: Exchange,
        pairs: dict[str, str],
        max_bytes: int,
    ) -> None:
        assert exchange.principal is not None, "authenticate comes before parse"
        self._saver = saver
        self._completions = completions
        self._exchange = exchange
        self._who: Principal = exchange.principal
        self._messages = exchange.asked["messages"]
        self._labels = pairs
        self._echo = {field: exchange.document.get(field) for field in ECHOED}
        self._left = max_bytes
        self._pieces: list[bytes] = []

    async def whole(self, body: bytes) -> bytes:
        """Stores it where that can be done; the answer, which was paid for, goes on as it is."""
        self._collect(body)
        if self._left >= 0:
            await self._keep(orjson.loads)
        return body

    async def events(self, ready: bytes) -> bytes:
        self._collect(ready)
        if ready.endswith(_DONE) and self._left >= 0 and self._exchange.error_code is None:
            await self._keep(self._put_together)
        return ready

    def _collect(self, piece: bytes) -> None:
        if self._left < 0:
            return
        self._left -= len(piece)
        self._pieces.append(piece)
        if self._left < 0:
            self._pieces.clear()
            self._log("its answer has more bytes than a request may have")

    def _put_together(self, stream: bytes) -> dict[str, Any]:
        lines = stream.removesuffix(_DONE).split(b"\n\n")
        made = completion(orjson.loads(line.removeprefix(b"data: ")) for line in lines if line)
        # The caller may not have asked for the counts, which are in the stream only then.
        return {**made, "usage": made.get("usage") or _usage(self._exchange.usage)}

    def _log(self, why: str) -> None:
        log.warning("request %s is not stored: %s", self._exchange.id, why)

    async def _keep(self, read: Callable[[bytes], dict[str, Any]]) -> None:
        try:
            answer = read(b"".join(self._pieces))
            identifier = answer.get("id")
        except _UNREADABLE as error:
            self._log(f"its answer can't be read ({error!r})")
            return
        if not isinstance(identifier, str) or not 1 <= len(identifier) <= MAX_ID:
            self._log("its answer has no id")
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
