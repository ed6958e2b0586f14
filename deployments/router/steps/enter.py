"""Step 1: its credentials. Of the body nothing is read before it is known whose it is."""

from __future__ import annotations

from deployments.router.exchange import Exchange


class Enter:
    async def __call__(self, exchange: Exchange) -> None:
        key = None
        for name, value in exchange.scope["headers"]:
            if name == b"authorization":
                exchange.authorization = value.decode("latin-1")
            elif name == b"x-api-key":  # as Anthropic's clients send it
                key = value.decode("latin-1")
        if exchange.authorization is None and key is not None:
            exchange.authorization = f"Bearer {key}"
