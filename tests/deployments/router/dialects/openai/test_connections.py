"""`/v1/connections`, as a client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster.catalog.catalog import Catalog
from cluster.catalog.connections import Connections
from cluster.tenancy.principal import Limits, Principal, Scope
from deployments.router.dialects.openai import connections, models
from deployments.router.remote.providers import Providers
from tests.deployments.router.conftest import Rig
from tests.deployments.router.dialects.openai.serving import answering
from tests.deployments.router.provider import FakeProvider, Reply, anthropic, openai

CHAT = {"model": "acme/gpt-x", "messages": [{"role": "user", "content": "Hello"}]}


@dataclass
class Part:
    """Of `deployments.router.services.Services`, what these routes use."""

    connections: Connections
    catalog: Catalog
    providers: Providers


def client(rig: Rig, *scopes: Scope, organization: str | None = None) -> httpx.AsyncClient:
    tenant = rig.tenant
    who = Principal(
        organization or tenant.organization_id, "default", tenant.project_id, "key-1",
        frozenset(scopes), Limits(), "",
    )  # fmt: skip
    part = Part(rig.connections, rig.catalog, rig.providers)
    app = answering(part, lambda _: who, connections.router, models.router)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/v1")


@pytest.fixture
async def http(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with client(rig, Scope.ADMIN) as made:
        yield made


@pytest.fixture
async def provider(rig: Rig) -> FakeProvider:
    made = FakeProvider(openai)
    await made.start()
    rig.fakes.append(made)
    return made


async def test_from_the_first_request_to_the_last(
    rig: Rig, http: httpx.AsyncClient, provider: FakeProvider
) -> None:
    body = {"name": "acme", "base_url": provider.url, "secret": "sk-upstream", "models": ["gpt-x"],
            "headers": {"X-Team": "one"}, "timeout": 9}  # fmt: skip
    made = await http.post("/connections", json=body)
    assert made.status_code == 201
    shown = made.json()
    assert (shown["object"], shown["base_url"]) == ("connection", f"{provider.url}/v1")
    assert (shown["has_secret"], shown["headers"], shown["timeout"]) == (True, ["x-team"], 9.0)
    assert "sk-upstream" not in made.text
    assert (await rig.post(CHAT)).status == 200
    assert (await http.get("/models/acme/gpt-x")).json()["owned_by"] == "acme"
    assert "acme/gpt-x" in [row["id"] for row in (await http.get("/models")).json()["data"]]
    assert (await http.get("/connections")).json()["data"] == [shown]
    assert (await http.get("/connections/acme")).json() == shown

    tested = (await http.post("/connections/acme/test")).json()
    assert (tested["ok"], tested["models"], tested["error"]) == (True, ["gpt-x", "o-x"], None)
    changed = await http.post("/connections/acme", json={"models": ["gone"], "timeout": 30})
    assert (changed.json()["models"], changed.json()["timeout"]) == (["gone"], 30)
    assert (await rig.post(CHAT)).json["error"]["code"] == "model_not_found"
    assert (await http.post("/connections/acme/test")).json()["unknown_models"] == ["gone"]
    await http.post("/connections/acme", json={"models": []})
    assert (await http.get("/models/acme/anything")).json()["id"] == "acme/anything"

    refused = await http.post("/connections/acme/secret", json={"secret": "sk-wrong"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "upstream_authentication_failed"
    assert "sk-wrong" not in refused.text
    assert (await rig.post(CHAT)).status == 200, "the old one stays"
    again = {"secret": "sk-wrong", "verify": False}
    assert (await http.post("/connections/acme/secret", json=again)).status_code == 200
    assert (await rig.post(CHAT)).status == 502
    tested = (await http.post("/connections/acme/test")).json()
    assert (tested["ok"], tested["models"]) == (False, None)
    assert tested["error"]["code"] == "upstream_authentication_failed"
    assert (await http.post("/connections/acme/secret", json={"secret": "sk-upstream"})).is_success

    assert (await http.delete("/connections/acme")).json()["deleted"] is True
    assert (await rig.post(CHAT)).json["error"]["code"] == "model_not_found"
    assert (await http.get("/connections/acme")).status_code == 404


async def test_what_a_test_finds(rig: Rig, http: httpx.AsyncClient, provider: FakeProvider) -> None:
    url = provider.url
    body = {"name": "acme", "protocol": "anthropic", "base_url": url, "secret": "sk-upstream"}
    await http.post("/connections", json=body)
    for answering_, ok, found in (
        (anthropic, True, ["claude-x"]),
        (lambda asked: Reply(b"{}", status=404), True, None),
        (lambda asked: Reply(b'[{"id": "a"}]'), True, ["a"]),
        (lambda asked: Reply(b"<html>"), False, None),
        (lambda asked: Reply(b'{"data": 5}'), False, None),
        (lambda asked: Reply(b"", status=500), False, None),
    ):
        provider.answering = answering_
        tested = (await http.post("/connections/acme/test")).json()
        assert (tested["ok"], tested["models"]) == (ok, found)
    await provider.stop()
    tested = (await http.post("/connections/acme/test")).json()
    assert tested["error"]["code"] == "service_unavailable"


WRONG: list[tuple[str, dict[str, Any], int, str | None]] = [
    ("/connections", {"name": "a b"}, 400, "name"),
    ("/connections", {"name": "b", "protocol": "soap"}, 400, "protocol"),
    ("/connections", {"name": "b", "base_url": "http://169.254.169.254"}, 400, "base_url"),
    ("/connections", {"name": "b", "secret": {"k": "sk-hidden"}}, 400, "secret"),
    ("/connections", {"name": "b", "secret": "sk-hidden\n"}, 400, "secret"),
    ("/connections", {"name": "b", "headers": {"a": ["sk-hidden"]}}, 400, "headers.a"),
    ("/connections", {"name": "b", "headers": {"host": "sk-hidden"}}, 400, "headers"),
    ("/connections", {"name": "b", "colour": "red"}, 400, "colour"),
    ("/connections", {"secret": "sk-hidden", "name": "\x00"}, 400, None),
    ("/connections/acme", {"protocol": "anthropic"}, 400, "protocol"),
    ("/connections/acme", {"timeout": 0}, 400, "timeout"),
    ("/connections/nobody", {}, 404, "name"),
    ("/connections/nobody/test", {}, 404, "name"),
    ("/connections/nobody/secret", {"secret": "sk-hidden"}, 404, "name"),
    ("/connections/acme/secret", {}, 400, "secret"),
]


async def test_what_is_refused_shows_no_secret(http: httpx.AsyncClient) -> None:
    await http.post("/connections", json={"name": "acme"})
    assert (await http.post("/connections", json={"name": "acme"})).status_code == 409
    for path, body, status, param in WRONG:
        answer = await http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        assert "sk-hidden" not in answer.text


async def test_who_may_not_change_and_who_sees_nothing(rig: Rig, http: httpx.AsyncClient) -> None:
    await http.post("/connections", json={"name": "acme", "models": ["m"]})
    async with client(rig, Scope.INFERENCE, Scope.TRAIN, Scope.READ) as other:
        assert (await other.get("/connections/acme")).status_code == 200
        for answer in (
            await other.post("/connections", json={"name": "b"}),
            await other.post("/connections/acme", json={"enabled": False}),
            await other.post("/connections/acme/secret", json={"secret": "a"}),
            await other.post("/connections/acme/test"),
            await other.delete("/connections/acme"),
        ):
            assert answer.status_code == 403
    async with client(rig, Scope.INFERENCE) as asking:
        for path in ("/connections", "/connections/acme"):
            assert (await asking.get(path)).status_code == 403
    async with client(rig, Scope.ADMIN, organization="org-other") as stranger:
        assert (await stranger.get("/connections")).json()["data"] == []
        for path in ("/connections/acme", "/connections/acme/test"):
            assert (await stranger.post(path, json={})).status_code == 404
        assert (await stranger.delete("/connections/acme")).status_code == 404
        assert (await stranger.get("/models/acme/m")).status_code == 404
