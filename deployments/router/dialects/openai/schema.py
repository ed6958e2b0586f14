"""JSON schemas that a caller binds an answer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson

from cluster.errors import InvalidRequest

BINDING = frozenset({"response_format", "structured_outputs", "tools"})
"""The fields that hold schemas."""
COMBINED = ("allOf", "anyOf", "oneOf")
DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas."""


def check_schemas(body: dict[str, Any]) -> None:
    """Raises InvalidRequest for a schema of which a part refers to nothing but itself.

    No text satisfies it: the engine would begin an answer and break it off.
    """
    if BINDING.isdisjoint(body):
        return
    for field, schema in _schemas(body):
        if _loops(schema):
            raise InvalidRequest(
                f"{field} has a $ref that leads back to itself: no text satisfies it.", param=field
            )


def _schemas(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas with their paths; what has a wrong type the engine refuses."""
    yield (
        "response_format.json_schema.schema",
        _at(body, "response_format", "json_schema", "schema"),
    )
    bound = _at(body, "structured_outputs", "json")
    if isinstance(bound, str):
        try:
            bound = orjson.loads(bound)
        except orjson.JSONDecodeError:
            bound = None
    yield "structured_outputs.json", bound
    tools = body.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        yield f"tools[{index}].function.parameters", _at(tool, "function", "parameters")
        yield f"tools[{index}].input_schema", _at(tool, "input_schema")


def _at(node: Any, *path: str) -> Any:
    for part in path:
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and part.isascii() and part.isdigit():
            node = node[int(part)] if int(part) < len(node) else None
        else:
            return None
    return node


def _loops(schema: Any) -> bool:
    known: set[int] = set()
    for start in _parts(schema):
        passed: set[int] = set()
        node: Any = start
        while isinstance(node, dict) and id(node) not in known:
            if id(node) in passed:
                return True
            passed.add(id(node))
            node = _only(node, schema)
        known |= passed
    return False


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending += [value for key, value in node.items() if key not in DATA]
        elif isinstance(node, list):
            pending += node


def _only(node: dict[str, Any], schema: Any) -> Any:
    """The one schema that stands for this one; None where it says something itself."""
    reference = node.get("$ref")
    if isinstance(reference, str):
        if not reference.startswith("#"):
            return None
        pointer = unquote(reference[1:]).split("/")[1:]
        return _at(schema, *(part.replace("~1", "/").replace("~0", "~") for part in pointer))
    for keyword in COMBINED:
        members = node.get(keyword)
        if isinstance(members, list) and len(members) == 1:
            return members[0]
    return None
