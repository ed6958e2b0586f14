"""Step 3 for Anthropic's `/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import boolean, kind
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.parse import (
    BYTES_PER_TOKEN,
    check_messages,
    check_salt,
    check_texts,
)
from deployments.router.dialects.openai.schema import check_schemas
from deployments.router.dialects.openai.tokens import check_size
from deployments.router.exchange import Exchange


class ParseMessages:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    async def __call__(self, exchange: Exchange) -> None:
        body = self._fields.check(exchange)
        check_messages(body)
        if exchange.endpoint != "/v1/messages":
            check_size(len(exchange.body), "messages")
            return
        exchange.stream = boolean(body, "stream")
        _metadata(body)
        check_schemas(body)
        check_texts(body, "stop_sequences")
        check_salt(body)
        exchange.prompt_estimate = len(exchange.body) // BYTES_PER_TOKEN
        exchange.reserve = exchange.prompt_estimate + _bound(body)


def _bound(body: dict[str, Any]) -> int:
    bound = body.get("max_tokens")
    if not isinstance(bound, int) or isinstance(bound, bool):
        given = "it is missing" if bound is None else f"given: {kind(bound)}"
        raise InvalidRequest(f"max_tokens must be a whole number ({given}).", param="max_tokens")
    if bound < 1:
        raise InvalidRequest(f"max_tokens is {bound}; it must be at least 1.", param="max_tokens")
    return bound


def _metadata(body: dict[str, Any]) -> None:
    metadata = body.get("metadata")
    if not isinstance(metadata, dict | None):
        raise InvalidRequest(f"metadata must be an object, not {kind(metadata)}.", param="metadata")
