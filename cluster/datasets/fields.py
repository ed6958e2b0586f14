"""Checks of single fields, shared by both shapes of row."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from cluster.datasets.problem import Faulty


def only(value: dict[str, Any], keys: Collection[str], place: str) -> None:
    """Raises Faulty for the first key that is not one of `keys`."""
    for key in value:
        if key not in keys:
            name = f"{place}.{key[:40]}" if place else key[:40]
            # A surrogate can't be written out, and a key may hold one.
            shown = json.dumps(name)[1:-1]
            raise Faulty(shown, f"unknown key; allowed are {', '.join(keys)}.")


def text(value: object, place: str) -> str:
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise Faulty(place, "it must be a string.", value=value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Faulty(place, "it holds half of a surrogate pair.", value=value) from None
    return value


def name(value: object, place: str) -> str:
    """A string with something in it."""
    if not text(value, place):
        raise Faulty(place, "it must not be empty.", value=value)
    return str(value)


def mapping(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Faulty(place, "it must be an object.", value=value)
    return value


def sequence(value: object, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Faulty(place, "it must be a list with something in it.", value=value)
    return value
