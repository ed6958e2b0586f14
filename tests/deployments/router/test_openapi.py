"""The description of the endpoints, which strangers may ask for without end."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import FastAPI

from cluster.errors import LorikeetError
from deployments.router import openapi
from deployments.router.dialects.anthropic.wire import ANTHROPIC
from deployments.router.dialects.openai.wire import OPENAI
from deployments.router.management import management
from deployments.router.openapi_errors import SCHEMAS, STATUSES, tell_errors

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
        *("ChatCompletionRequest", "Error", "AnthropicError"),
    }
    assert set(documents[-1]["components"]["schemas"]) == schemas
    assert (len(made), engines) == (2, [])


def test_every_operation_tells_its_errors_in_the_shape_of_its_api() -> None:
    app = management(lifespan=None)
    paths = ("/v1/chat/completions", "/v1/messages")
    theirs = {"200": {"description": "x"}, "422": {"description": "x"}, "501": {"description": "x"}}
    engine = {"paths": {path: {"post": {"responses": theirs}} for path in paths}}
    document = openapi.merge(openapi._own(app), engine)
    tell_errors(document)
    for path, operations in document["paths"].items():
        schema = "AnthropicError" if path == "/v1/messages" else "Error"
        for operation in operations.values():
            told = {k: v for k, v in operation["responses"].items() if k >= "4"}
            if path in ("/healthz", "/readyz"):
                assert "401" not in told
                continue
            assert list(told) == [str(status) for status in STATUSES]
            assert told["400"] == {"$ref": f"#/components/responses/{schema}400"}
    text = json.dumps(document)
    for kind in ("responses", "schemas"):
        for name in re.findall(rf"#/components/{kind}/(\w+)", text):
            assert name in document["components"][kind], name


@pytest.mark.parametrize("param", ["model", None])
def test_an_error_has_the_shape_that_is_told(param: str | None) -> None:
    error = LorikeetError("It is wrong.", param=param, retry_after=1.0, details={"a": 1})
    jsonschema.validate(json.loads(OPENAI.answer(error)[0]), SCHEMAS["Error"])
    jsonschema.validate(json.loads(ANTHROPIC.answer(error)[0]), SCHEMAS["AnthropicError"])
