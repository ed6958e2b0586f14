"""Who may ask an engine over the network."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from deployments.guard import guarded

TOKEN = b"s3cret-of-the-cluster"
HEADER = "x-lorikeet-token"


class Engine:
    """Counts who got through."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"tokens"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(HEADER, TOKEN.decode())], 200),
        ([("X-Lorikeet-Token", TOKEN.decode())], 200),
        ([], 403),
        ([(HEADER, "")], 403),
        ([(HEADER, "wrong")], 403),
        ([(HEADER, TOKEN.decode()[:-1])], 403),
        ([(HEADER, TOKEN.decode() + "x")], 403),
        ([("authorization", f"Bearer {TOKEN.decode()}")], 403),
        ([(HEADER, "wrong"), (HEADER, TOKEN.decode())], 403),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/health", "/docs", "/"])
async def test_only_who_knows_the_token_is_answered(
    path: str, headers: list[tuple[str, str]], status: int
) -> None:
    engine = Engine()
    transport = httpx.ASGITransport(guarded(engine, TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        answer = await http.post(path, content=b"{}", headers=headers)
    assert (answer.status_code, engine.asked) == (status, int(status == 200))
    assert answer.content == (b"tokens" if status == 200 else b"")


async def test_nothing_of_a_strangers_body_is_read() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    await guarded(Engine(), TOKEN)({"type": "http", "path": "/", "headers": []}, receive, send)
    assert sent[0]["status"] == 403


def test_an_empty_token_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="let everybody in"):
        guarded(Engine(), b"")
