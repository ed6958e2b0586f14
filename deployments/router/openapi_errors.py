"""The errors that an operation may answer with, in `/openapi.json`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from deployments.router.dialects.anthropic.wire import ANTHROPIC
from deployments.router.endpoint import ENDPOINTS

STATUSES = (400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504)
TEXT, MAYBE = {"type": "string"}, {"type": ["string", "null"]}
SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": TEXT,
                    "type": TEXT,
                    "param": {**MAYBE, "description": "The field that is wrong."},
                    "code": MAYBE,
                    "details": {"type": "object"},
                },
            }
        },
    },
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": TEXT, "message": TEXT, "param": TEXT},
            },
        },
    },
}
OPEN = ("/healthz", "/readyz")
"""Nobody is asked for a key there, and nothing is read."""


def tell_errors(document: dict[str, Any]) -> None:
    """Put them into every operation, for what FastAPI and vLLM say of errors there.

    Neither knows the shapes: FastAPI's 422 for a wrong body, for one, is a 400 here.
    """
    components = document["components"]
    components["schemas"] |= SCHEMAS
    components["responses"] = {
        f"{schema}{status}": _response(schema, status) for schema in SCHEMAS for status in STATUSES
    }
    for path, operations in document["paths"].items():
        endpoint = ENDPOINTS.get(path)
        anthropic = endpoint is not None and endpoint.dialect is ANTHROPIC
        schema = "AnthropicError" if anthropic else "Error"
        for operation in operations.values():
            told = {} if path in OPEN else {str(s): _reference(schema, s) for s in STATUSES}
            given = operation.get("responses", {}).items()
            operation["responses"] = {k: v for k, v in given if k < "4" or path in OPEN} | told
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)


def _reference(schema: str, status: int) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{schema}{status}"}


def _response(schema: str, status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
    if status in (429, 503):
        told["headers"] = {
            "Retry-After": {"description": "Whole seconds.", "schema": {"type": "integer"}}
        }
    return told
