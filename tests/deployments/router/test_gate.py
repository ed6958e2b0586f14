"""What happens before a management route reads a body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from cluster.errors import Unauthenticated
from cluster.settings import Settings
from cluster.tenancy.principal import Limits, Principal, Scope
from deployments.router.management import management


def principal(*scopes: Scope) -> Principal:
    return Principal("o", "o", "p", "k", frozenset(scopes), Limits(), "salt")


class OneKey:
    async def authenticate(self, authorization: str | None) -> Principal:
        if authorization == "Bearer good":
            return principal(*Scope)
        if authorization == "Bearer small":
            return principal(Scope.INFERENCE, Scope.READ)
        raise Unauthenticated("no")


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = management(lifespan)
    bounded = settings.model_copy(update={"body_max_bytes": 2048})
    app.state.lorikeet = SimpleNamespace(
        authenticator=OneKey(), platform=SimpleNamespace(settings=bounded)
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as made:
        yield made


async def test_no_byte_is_read_of_a_stranger(client: httpx.AsyncClient) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x" * 1000

    answer = await client.post("/v1/adapters", content=body())
    assert (answer.status_code, read) == (401, [])
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/organization/keys"),
        ("POST", "/v1/organization/limits"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("POST", "/v1/aliases"),
        ("POST", "/v1/aliases/bot"),
        ("POST", "/v1/files"),
        ("POST", "/v1/adapters"),
        ("DELETE", "/v1/organization/keys/key-1"),
    ],
)
async def test_no_byte_is_read_of_a_key_that_may_not(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x" * 1000

    headers = {"authorization": "Bearer small", "content-type": "application/json"}
    answer = await client.request(method, path, content=body(), headers=headers)
    assert (answer.status_code, read) == (403, [])
    assert answer.json()["error"]["code"] == "permission_denied"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_bound_is_refused(client: httpx.AsyncClient, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 1000

    content = pieces() if chunked else b"x" * 4000
    answer = await client.post(
        "/v1/organization/keys",
        content=content,
        headers={"authorization": "Bearer good", "content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"name": ', "invalid_json"),
        (b'{"name": "x", "nmae": 1}', "unknown_parameter"),
        (b'{"name": "\\ud800"}', "invalid_request"),
        (b'{"name": "a\\u0000b"}', "invalid_request"),
        (b'{"name": "x", "a\\u0000b": 1}', "invalid_request"),
    ],
)
async def test_a_wrong_body_is_a_400_in_openais_shape(
    client: httpx.AsyncClient, body: bytes, code: str
) -> None:
    headers = {"authorization": "Bearer good", "content-type": "application/json"}
    answer = await client.post("/v1/organization/keys", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("sent", [{}, {"content-type": "text/plain"}])
async def test_json_has_to_be_called_json(client: httpx.AsyncClient, sent: dict[str, str]) -> None:
    headers = {"authorization": "Bearer good", **sent}
    answer = await client.post("/v1/organization/keys", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == 400
    assert "content-type: application/json" in answer.json()["error"]["message"]


async def test_however_deep_a_body_is_it_is_the_callers_mistake(client: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer good", "content-type": "application/json"}
    for depth in range(800, 1000, 3):  # which the parser still takes depends on the stack
        body = b'{"name": "x", "deep": %b%b}' % (b"[" * depth, b"]" * depth)
        answer = await client.post("/v1/organization/keys", content=body, headers=headers)
        assert (answer.status_code, depth) == (400, depth)


@pytest.mark.parametrize(("key", "status"), [("good", 404), ("bad", 401)])
async def test_the_key_as_anthropics_clients_send_it(
    client: httpx.AsyncClient, key: str, status: int
) -> None:
    assert (await client.get("/nowhere", headers={"x-api-key": key})).status_code == status


async def test_a_fault_of_ours_has_the_shape_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models", headers={"authorization": "Bearer good"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
