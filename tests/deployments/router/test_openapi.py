"""The description of the endpoints, which strangers may ask for without end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.router import openapi

REFERENCE = {"$ref": "#/components/schemas/ChatCompletionRequest"}
ENGINE = {
    "paths": {"/v1/chat/completions": {"post": {"requestBody": {"schema": REFERENCE}}}},
    "components": {"schemas": {"ChatCompletionRequest": {"type": "object"}, "Other": {}}},
}


async def test_it_is_made_once_without_the_engines_part_and_once_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines: list[dict[str, Any]] = [{}, {}, ENGINE]
    made = []
    own = openapi._own

    async def engine(app: FastAPI) -> dict[str, Any]:
        return engines.pop(0)

    def counted(app: FastAPI) -> dict[str, Any]:
        made.append(app)
        return own(app)

    monkeypatch.setattr(openapi, "_engine", engine)
    monkeypatch.setattr(openapi, "_own", counted)
    app = FastAPI()
    openapi.describe(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answers = [await client.get("/openapi.json") for _ in range(5)]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    documents = [answer.json() for answer in answers]
    own_paths = {"/v1/embeddings", "/v1/score", "/v1/rerank", "/v1/moderations"}
    assert [set(document["paths"]) for document in documents] == [
        *[own_paths] * 2,
        *[own_paths | {"/v1/chat/completions"}] * 3,
    ]
    schemas = {
        *("EmbeddingRequest", "ScoreRequest", "RerankRequest", "ModerationRequest"),
        "ChatCompletionRequest",
    }
    assert set(documents[-1]["components"]["schemas"]) == schemas
    assert (len(made), engines) == (2, [])
