"""Step 3: the body as JSON, the model that it names, and the end user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.router.dialects.openai.document import document, model
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Name:
    def __init__(self, of: Callable[[dict[str, Any]], str] = model) -> None:
        """`of` is the name of the model that a body means."""
        self._of = of

    async def __call__(self, exchange: Exchange) -> None:
        exchange.document = body = document(exchange.body)
        exchange.model = self._of(body)
        exchange.user = ENDPOINTS[exchange.endpoint].dialect.user(body)
