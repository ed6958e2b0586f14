"""A request's body as a JSON object, and what every inference endpoint reads of it."""

from __future__ import annotations

from typing import Any

import orjson

from cluster.errors import InvalidRequest


def document(body: bytes) -> dict[str, Any]:
    """Raises InvalidRequest unless the body is a JSON object."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, "
            f"column {error.colno}.",
            code="invalid_json",
        ) from None
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {kind(parsed)}.")
    return parsed


def model(body: dict[str, Any]) -> str:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        given = "it is missing" if name is None else f"given: {kind(name)}"
        raise InvalidRequest(f"model must be the name of a model ({given}).", param="model")
    return name


def boolean(body: dict[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"{field} must be true or false, not {kind(value)}.", param=field)


def kind(value: object) -> str:
    """A JSON value as callers would call it, with the value where it is short."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    name = names.get(type(value), "null" if value is None else "a number")
    shown = orjson.dumps(value).decode()
    return f"{name} {shown}" if value is not None and len(shown) <= 40 else name
