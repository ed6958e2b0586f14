"""One response on its way: in its caller's words, and stored before its last word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from cluster.errors import LorikeetError
from cluster.identifiers import new_id
from cluster.stored.items import Item
from cluster.stored.responses import Past, Responses
from cluster.stored.saver import Saver
from cluster.tenancy.principal import Principal
from deployments.router.dialects.openai.errors import body, from_engine, status_of

ENDS = (b"event: response.completed\n", b"event: response.incomplete\n")
"""VLLM has only the first, also for what was cut short."""
ERROR = b"event: error\n"
FAILED = b"event: response.failed\n"
_TOLD = (b"event: response.created\n", b"event: response.in_progress\n", *ENDS, FAILED, ERROR)
"""Events that say something of the response as a whole. In a text the line's end is escaped."""
ENGINE_ONLY = frozenset(
    {"kv_transfer_params", "ec_transfer_params", "input_messages", "output_messages"}
)
"""Fields of vLLM's answer whose requests are not taken."""


class ResponseRecord:
    """The engine knows neither our id nor what it continues: that is put back here."""

    def __init__(
        self,
        saver: Saver,
        responses: Responses,
        who: Principal,
        items: Sequence[Item],
        past: Past | None,
        *,
        instructions: object,
        store: bool,
    ) -> None:
        self.id = new_id("resp_")
        self._saver = saver
        self._responses = responses
        self._who = who
        self._items = items
        self._past = past
        self._instructions = instructions
        self._store = store
        self._number = 0
        """The next event's."""
        self._begun: dict[str, Any] | None = None
        """The response as its first event had it."""

    async def whole(self, body: bytes) -> bytes:
        return orjson.dumps(await self._end(orjson.loads(body)))

    async def events(self, ready: bytes) -> bytes:
        if not any(word in ready for word in _TOLD):
            self._number += ready.count(b"\n\n")
            return ready
        made = []
        for event in ready.split(b"\n\n"):
            if not event:
                continue
            if event.startswith(ERROR):
                told = data(event)
                made.append(self.failure(from_engine(status_of(told) or 500, told)))
                continue
            self._number += 1
            made.append(await self._event(event) if event.startswith(_TOLD) else event + b"\n\n")
        return b"".join(made)

    async def _event(self, event: bytes) -> bytes:
        told = orjson.loads(data(event))
        if event.startswith(ENDS):
            response = told["response"] = await self._end(told["response"])
            if response.get("status") == "incomplete":
                told["type"] = "response.incomplete"
        elif event.startswith(FAILED):
            told["response"] = {
                **self._ours(told["response"]),
                "error": told["response"].get("error"),
                "store": False,
            }
        else:
            self._begun = told["response"] = self._ours(told["response"])
        return _event(told)

    async def _end(self, response: dict[str, Any]) -> dict[str, Any]:
        made = self._ours(response)
        if self._store:
            made["store"] = await self._saver.save(
                f"response {self.id}",
                lambda: self._responses.add(self._who, self._items, made, self._past),
            )
        return made

    def _ours(self, response: dict[str, Any]) -> dict[str, Any]:
        theirs = {key: value for key, value in response.items() if key not in ENGINE_ONLY}
        return {
            **theirs,
            "id": self.id,
            "previous_response_id": None if self._past is None else self._past.response_id,
            # Without a virtual model's own, which its callers are not shown.
            "instructions": self._instructions,
            "store": self._store,
            "error": None,
        }

    def failure(self, error: LorikeetError) -> bytes:
        """What ends a stream that has failed on its way. Nothing of it is stored."""
        shown = body(error)["error"]
        # OpenAI's clients raise where they find `error`; by its reference the fields stand outside.
        flat = {key: shown[key] for key in ("code", "message", "param")}
        told = {"type": "error", "sequence_number": self._number, **flat, "error": shown}
        ends = [_event(told)]
        self._number += 1
        if self._begun is not None:
            failed = {
                **self._begun,
                "status": "failed",
                "store": False,
                "error": {"code": "server_error", "message": shown["message"]},
            }
            sequence = {"type": "response.failed", "sequence_number": self._number}
            ends.append(_event({**sequence, "response": failed}))
        return b"".join(ends)


def data(event: bytes) -> bytes:
    """What stands in an event after its name."""
    return event.partition(b"\ndata: ")[2]


def _event(told: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (told["type"].encode(), orjson.dumps(told))
