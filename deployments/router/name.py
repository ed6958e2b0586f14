"""Step 3: the body as JSON, the model that it names, and the end user."""

from __future__ import annotations

from deployments.router.dialects.openai.document import document, model
from deployments.router.endpoint import ENDPOINTS
from deployments.router.exchange import Exchange


class Name:
    async def __call__(self, exchange: Exchange) -> None:
        exchange.document = body = document(exchange.body)
        exchange.model = model(body)
        exchange.user = ENDPOINTS[exchange.endpoint].dialect.user(body)
