"""Lets only those ask an app who know the product's internal token."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_HEADER = b"x-lorikeet-token"


def guarded(app: ASGIApp, token: bytes) -> ASGIApp:
    """`app`, which answers 403 to everybody else and reads nothing of what they send."""
    assert token, "an empty token would let everybody in"

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "neither websockets nor a lifespan are served"
        given = [value for name, value in scope["headers"] if name == TOKEN_HEADER]
        if len(given) != 1 or not hmac.compare_digest(given[0], token):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return asked
