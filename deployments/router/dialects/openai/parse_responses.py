"""Step 3 for `/v1/responses`: what it continues, what is refused, and what is kept of it."""

from __future__ import annotations

from typing import Any

import orjson

from cluster.errors import InvalidRequest
from cluster.stored.items import heard, items
from cluster.stored.labels import labels
from cluster.stored.responses import Past, Responses
from cluster.stored.saver import Saver
from deployments.router.dialects.openai.document import boolean, kind
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.parse import (
    BYTES_PER_TOKEN,
    DEFAULT_COMPLETION,
    at_least,
    check_salt,
    check_texts,
    check_whole,
)
from deployments.router.dialects.openai.response_record import ResponseRecord
from deployments.router.exchange import Beside, Exchange

TOOLS = ("function", "custom", "namespace")
"""Those that the caller runs. The others are OpenAI's own."""
MISSING = {
    "background": "Responses are not run in the background",
    "conversation": "Conversations are not kept; continue one by previous_response_id",
    "prompt": "Stored prompts are not kept; send instructions and input",
    "context_management": "A context is not compacted by itself",
    "moderation": "Responses are not moderated",
    "image": "No images are made",
    "access_programs": "There are no access programs",
}
"""Fields of OpenAI's whose silent absence would change what an answer is."""


class ParseResponses:
    def __init__(self, fields: Fields, saver: Saver, responses: Responses) -> None:
        self._fields = fields
        self._saver = saver
        self._responses = responses

    async def __call__(self, exchange: Exchange) -> None:
        body = self._fields.check(exchange)
        exchange.stream = boolean(body, "stream")
        store = True if body.get("store") is None else boolean(body, "store")
        for field, why in MISSING.items():
            if body.get(field) not in (None, False):
                raise InvalidRequest(f"{why}: {field} is not taken.", param=field)
        _check_tools(body)
        body["metadata"] = labels(body.get("metadata"))
        check_whole(body, "max_output_tokens")
        at_least(body, "max_output_tokens", 1)
        at_least(body, "top_logprobs", 0)
        check_texts(body, "stop")
        check_salt(body)
        own = items(body.get("input"))
        past = await self._past(exchange, body, store=store)
        size = len(exchange.body)
        if past is not None:
            size += past.bytes
            exchange.beside = Beside(orjson.dumps(past.items))
        if past is not None or not isinstance(body["input"], str):
            body["input"] = heard([*(() if past is None else past.items), *own])
        if body["input"] == []:
            raise InvalidRequest("input is empty: it must hold at least one item.", param="input")
        body["store"] = False  # here is the store, not in an engine or at a provider
        assert exchange.principal is not None, "authenticate comes before parse"
        exchange.record = ResponseRecord(
            self._saver,
            self._responses,
            exchange.principal,
            own,
            past,
            instructions=exchange.asked.get("instructions"),
            store=store,
        )
        bound = body.get("max_output_tokens") or DEFAULT_COMPLETION
        exchange.prompt_estimate = size // BYTES_PER_TOKEN
        exchange.reserve = exchange.prompt_estimate + max(0, bound)

    async def _past(self, exchange: Exchange, body: dict[str, Any], *, store: bool) -> Past | None:
        """What is continued. Either way the store is known to be there, where it will be needed."""
        previous = body.pop("previous_response_id", None)
        if previous is None:
            if store:
                await self._saver.reach()
            return None
        if not isinstance(previous, str):
            raise InvalidRequest(
                f"previous_response_id must be a string, not {kind(previous)}.",
                param="previous_response_id",
            )
        assert exchange.principal is not None, "authenticate comes before parse"
        return await self._responses.recall(exchange.principal.organization_id, previous)


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else []):
        given = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(given, str) and given not in TOOLS:
            raise InvalidRequest(
                f"tools[{index}].type is {given[:100]!r}, a tool that OpenAI runs itself; taken "
                f"are {', '.join(TOOLS)}.",
                param=f"tools[{index}].type",
            )
