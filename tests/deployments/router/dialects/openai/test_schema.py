"""Schemas that no text satisfies, because they only refer to themselves."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.schema import check_schemas

LOOPS: dict[str, Any] = {
    "itself": {"$ref": "#"},
    "itself as the only choice": {"anyOf": [{"$ref": "#"}]},
    "itself and no more": {"allOf": [{"oneOf": [{"$ref": "#"}]}]},
    "two in a circle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "a property": {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
    "a member of a list": {"anyOf": [{"type": "null"}, {"$ref": "#/anyOf/1"}]},
    "a name with signs": {"$defs": {"a/b~c d": {"$ref": "#/$defs/a~1b~0c%20d"}}},
}
FINE: dict[str, Any] = {
    "a tree": {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    },
    "a choice": {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    "elsewhere": {"$ref": "https://example.org/schema"},
    "nowhere": {"$ref": "#/$defs/none"},
    "a property of that name": {"type": "object", "properties": {"$ref": {"type": "string"}}},
    "a value of that kind": {"const": {"$ref": "#/const"}},
    "no schema": [1, {"$ref": 5}],
    "a long way": {
        "$ref": "#/$defs/0",
        "$defs": {
            **{str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(5000)},
            "5000": {"type": "string"},
        },
    },
}


def bodies(schema: Any) -> dict[str, dict[str, Any]]:
    return {
        "response_format.json_schema.schema": {
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}
        },
        "structured_outputs.json": {"structured_outputs": {"json": schema}},
        "tools[1].function.parameters": {
            "tools": [{}, {"type": "function", "function": {"parameters": schema}}]
        },
        "tools[0].input_schema": {"tools": [{"name": "a", "input_schema": schema}]},
    }


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_refused_with_the_field_that_has_it(name: str) -> None:
    for field, body in bodies(LOOPS[name]).items():
        with pytest.raises(InvalidRequest, match="leads back to itself") as refused:
            check_schemas(body)
        assert refused.value.param == field


def test_a_schema_may_be_written_as_text() -> None:
    with pytest.raises(InvalidRequest):
        check_schemas({"structured_outputs": {"json": json.dumps(LOOPS["itself"])}})
    check_schemas({"structured_outputs": {"json": "{"}})  # the engine says what is wrong


@pytest.mark.parametrize("name", FINE)
def test_what_may_end_is_taken(name: str) -> None:
    for body in bodies(FINE[name]).values():
        check_schemas(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["#", "#/a", "#/anyOf/0", "a", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$ref", "anyOf", "allOf", "a", "enum"]), inner, max_size=3
        )
    ),
)


@settings(max_examples=50)
@given(JSON, JSON)
def test_any_value_is_taken_or_refused(schema: Any, body: Any) -> None:
    for made in (*bodies(schema).values(), body if isinstance(body, dict) else {}):
        if "$ref" in json.dumps(made):
            with contextlib.suppress(InvalidRequest):
                check_schemas(made)
        else:
            check_schemas(made)
