"""Before a management route reads a byte of a body: who asks, and how much they may send."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.errors import LorikeetError, TooLarge
from cluster.tenancy.principal import Principal
from cluster.tenancy.principal import Scope as Permission
from deployments.router.dialects.openai import errors
from deployments.router.dialects.openai.form import ENVELOPE

UPLOADS = ("/v1/files", "/v1/adapters")
"""Bounded by `upload_max_bytes`; every other body by `body_max_bytes`."""
WRITING = {
    "/v1/organization/": Permission.ADMIN,
    "/v1/files": Permission.TRAIN,
    "/v1/fine_tuning/": Permission.TRAIN,
    "/v1/adapters": Permission.TRAIN,
    "/v1/aliases": Permission.TRAIN,
    "/v1/virtual_models": Permission.TRAIN,
    "/v1/connections": Permission.ADMIN,
}
"""What it takes to change something there. The routes ask again, and for reading they alone."""
OPEN = ("/healthz", "/readyz", "/docs", "/redoc", "/openapi.json")


class Gate:
    """An ASGI middleware. FastAPI itself would parse a body first and ask for the key after it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self._app(scope, receive, send)
            return
        at = scope["app"].state.lorikeet
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        try:
            authorization = headers.get("authorization")
            if authorization is None and "x-api-key" in headers:  # as Anthropic's clients send it
                authorization = b"Bearer " + headers["x-api-key"]
            who = await at.authenticator.authenticate(
                None if authorization is None else authorization.decode("latin-1")
            )
            _permit(who, scope)
            limit = self._limit(scope["path"], at.platform.settings)
            length = headers.get("content-length", b"")
            if length.isdigit() and int(length) > limit:
                raise _too_large(limit)
        except LorikeetError as error:
            answer = JSONResponse(errors.body(error), error.status, errors.headers(error))
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = who
        await self._app(scope, _bounded(receive, limit), send)

    def _limit(self, path: str, settings: Any) -> int:
        if path.startswith(UPLOADS):
            return int(settings.upload_max_bytes) + ENVELOPE
        return int(settings.body_max_bytes)


def _permit(who: Principal, scope: Scope) -> None:
    """Raises Forbidden; the route itself could do so only with the whole body read and checked."""
    if scope["method"] not in ("GET", "HEAD"):
        for prefix, permission in WRITING.items():
            if scope["path"].startswith(prefix):
                who.require(permission)


def _bounded(receive: Receive, limit: int) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is too large; at most {limit} bytes are taken.")
