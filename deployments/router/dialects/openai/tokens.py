"""Step 3 for `/tokenize` and `/detokenize`, vLLM's endpoints: text into tokens and back."""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.document import kind
from deployments.router.dialects.openai.fields import Fields
from deployments.router.exchange import Exchange

MAX_BYTES = 2_000_000
"""Of a body that is only made into tokens: that is done in the engine's process."""
MAX_TOKENS = 1_000_000


class ParseTokens:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    async def __call__(self, exchange: Exchange) -> None:
        body = self._fields.check(exchange)
        if exchange.endpoint == "/detokenize":
            _tokens(body)
        else:
            _text(body, len(exchange.body))


def _text(body: dict[str, Any], size: int) -> None:
    if ("prompt" in body) == ("messages" in body):
        raise InvalidRequest("Give either prompt or messages.", param="prompt")
    check_size(size, "prompt" if "prompt" in body else "messages")


def check_size(size: int, field: str) -> None:
    """Raises InvalidRequest where a body of so many bytes is too long to be made into tokens."""
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"{field} is too long: the body has {size} bytes, at most {MAX_BYTES} are taken.",
            param=field,
        )


def _tokens(body: dict[str, Any]) -> None:
    tokens = body.get("tokens")
    if not isinstance(tokens, list):
        given = "it is missing" if tokens is None else f"given: {kind(tokens)}"
        raise InvalidRequest(f"tokens must be a list of numbers ({given}).", param="tokens")
    if len(tokens) > MAX_TOKENS:
        raise InvalidRequest(
            f"tokens has {len(tokens)} members; at most {MAX_TOKENS} are taken.", param="tokens"
        )
