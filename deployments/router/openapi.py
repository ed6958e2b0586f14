"""`/openapi.json`: our own routes, and the engine's description of the inference endpoints."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.catalog.base_models import ModelKind
from deployments.router.asked.embed import EmbeddingRequest
from deployments.router.asked.moderate import ModerationRequest
from deployments.router.asked.rerank import RerankRequest
from deployments.router.asked.score import ScoreRequest
from deployments.router.endpoint import ENDPOINTS
from deployments.router.openapi_errors import tell_errors

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for an engine's description; without it the document has only our own routes."""
INFERENCE = tuple(path for path, of in ENDPOINTS.items() if of.kind is ModelKind.LLM)
ASKED: dict[str, tuple[str, type[BaseModel]]] = {
    "/v1/embeddings": ("Create embeddings", EmbeddingRequest),
    "/v1/score": ("Score texts against texts", ScoreRequest),
    "/v1/rerank": ("Rank documents by how well they answer a query", RerankRequest),
    "/v1/moderations": ("Classify texts by what is wrong with them", ModerationRequest),
}
"""The inference endpoints whose bodies are this product's own classes."""
BEARER = {"bearer": {"type": "http", "scheme": "bearer"}}


def describe(app: FastAPI) -> None:
    """Replace FastAPI's document by one that has the inference endpoints too."""
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") != app.openapi_url
    ]

    # Anybody may ask, as often as they like: all wait for one answer, and it stays.
    content, whole = b"", False
    asking: asyncio.Task[dict[str, Any]] | None = None

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        nonlocal content, whole, asking
        if not whole:
            if asking is None or asking.done():
                asking = asyncio.create_task(_engine(app))
            engine = await asyncio.shield(asking)
            # Making it holds up every request: once without the engine's part and once with it.
            if not content or (engine and not whole):
                document = merge(_own(app), engine)
                tell_errors(document)
                content, whole = orjson.dumps(document), bool(engine)
        return Response(content, media_type="application/json")


def _own(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    components["securitySchemes"] = BEARER
    document["security"] = [{"bearer": []}]
    for path, (summary, shape) in ASKED.items():
        schemas[shape.__name__] = shape.model_json_schema()
        document["paths"][path] = {
            "post": {
                "tags": ["inference"],
                "summary": summary,
                "requestBody": _body(shape.__name__),
                "responses": {"200": {"description": "Successful Response"}},
            }
        }
    return document


def _body(schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"required": True, "content": {"application/json": {"schema": reference}}}


async def _engine(app: FastAPI) -> dict[str, Any]:
    """What one LLM replica says of itself; empty while there is none."""
    for base in app.state.lorikeet.catalog.bases():
        if base.kind is ModelKind.LLM:
            try:
                handle = serve.get_app_handle(base.application)
                async with asyncio.timeout(PATIENCE):
                    document: dict[str, Any] = await handle.openapi.remote()
            except (RayError, RayServeException, TimeoutError) as error:
                log.warning("no description from %s: %r", base.name, error)
                continue
            return document
    return {}


def merge(own: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    """`own` with the engine's inference endpoints and the schemas that they need."""
    paths = engine.get("paths", {})
    known = engine.get("components", {}).get("schemas", {})
    wanted = []
    for path in INFERENCE:
        if path in paths:
            operation = {**paths[path]["post"], "tags": ["inference"]}
            # Beside the routes that are our own, such as the list of what was stored.
            own["paths"].setdefault(path, {})["post"] = operation
            wanted += list(_references(operation))
    schemas = own["components"]["schemas"]
    while wanted:
        name = wanted.pop()
        if name not in schemas and name in known:
            schemas[name] = known[name]
            wanted += list(_references(known[name]))
    return own


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = node.get("$ref")
        found = [own.rsplit("/", 1)[-1]] if isinstance(own, str) else []
        return found + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []
