"""Which fields a request body may have, down to the ones inside its objects.

vLLM's request classes let unknown fields pass unseen, where OpenAI refuses them: a caller's typing
error would have no effect and no message. What is known is read off the classes themselves.
"""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

INSIDE = "."
"""A known path that ends with it says that the fields inside are known, and no others."""
PLAIN = frozenset({str, int, float, bool, types.NoneType})
LIBERAL = frozenset({"messages", "input"})
"""Content parts come in as many shapes as there are models: the engine judges them. `input` has
items of as many kinds."""


def known_fields(*records: type) -> frozenset[str]:
    """The paths of the fields that any of vLLM's classes and OpenAI's TypedDicts has.

    `a.b` is the field b of the object a, or of each object in the list a. What only OpenAI has
    (`store`, `service_tier`) its clients send without being asked to: it is known, and not looked
    into.
    """
    return frozenset(_paths(list(records), ""))


def _paths(records: list[type], prefix: str) -> Iterator[str]:
    hints: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        for name, hint in _fields(record):
            hints[name].append(hint)
    for name, given in hints.items():
        path = prefix + name
        yield path
        inner = [leaf for hint in given for leaf in _leaves(hint)]
        if path in LIBERAL or not any(_is_model(leaf) for leaf in inner):
            continue
        if all(_is_record(leaf) or leaf in PLAIN for leaf in inner):
            yield path + INSIDE
            yield from _paths([leaf for leaf in inner if _is_record(leaf)], path + INSIDE)


def _fields(record: type) -> Iterable[tuple[str, Any]]:
    if _is_typed_dict(record):
        yield from get_type_hints(record).items()
        return
    assert issubclass(record, BaseModel)
    by_name = record.model_config.get("populate_by_name") or record.model_config.get(
        "validate_by_name"
    )
    for name, info in record.model_fields.items():
        if info.alias is not None:
            yield info.alias, info.annotation
        if info.alias is None or by_name:
            yield name, info.annotation


def _leaves(hint: Any) -> Iterator[Any]:
    """The types that a value may have, those of a list's members instead of the list's."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType) or _is_sequence(origin):
        for option in get_args(hint):
            yield from _leaves(option)
    elif hint is not None and hasattr(hint, "__metadata__"):  # Annotated
        yield from _leaves(hint.__origin__)
    elif get_args(hint) and all(isinstance(option, str) for option in get_args(hint)):
        yield str  # a Literal
    else:
        yield hint


def _is_sequence(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(list, origin)


def _is_typed_dict(leaf: Any) -> bool:
    # Not typing.is_typeddict: on Python 3.11 it does not know those of typing_extensions.
    return isinstance(leaf, type) and issubclass(leaf, dict) and hasattr(leaf, "__total__")


def _is_model(leaf: Any) -> bool:
    return isinstance(leaf, type) and issubclass(leaf, BaseModel)


def _is_record(leaf: Any) -> bool:
    return _is_model(leaf) or _is_typed_dict(leaf)
