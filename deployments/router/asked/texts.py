"""Texts in a request's body, and how many of them are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cluster.errors import InvalidRequest
from deployments.router.dialects.openai.errors import from_validation
from deployments.router.dialects.openai.parse import BYTES_PER_TOKEN

Body = TypeVar("Body", bound=BaseModel)


def read(shape: type[Body], body: Mapping[str, Any]) -> Body:
    """Raises InvalidRequest naming the field."""
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise from_validation(error.errors()) from None


def all_of(value: object, kind: type) -> bool:
    """Whether it is a list of nothing but that."""
    return isinstance(value, list) and all(type(member) is kind for member in value)


def about(text: str) -> int:
    """How many tokens it has, rather too many; the shortest has one."""
    return max(1, len(text.encode()) // BYTES_PER_TOKEN)


def check_many(texts: Sequence[str | list[int]], field: str, most: int) -> None:
    """Raises InvalidRequest unless there are 1 to `most` texts, none of them empty."""
    if not texts or len(texts) > most:
        raise InvalidRequest(
            f"{field} has {len(texts)} texts; it must have 1 to {most}.", param=field
        )
    for index, text in enumerate(texts):
        if not text:
            where = field if len(texts) == 1 else f"{field}[{index}]"
            raise InvalidRequest(f"{where} is empty.", param=field)


def check_long(characters: int, field: str, most: int, unit: str = "characters") -> None:
    """Raises InvalidRequest."""
    if characters > most:
        raise InvalidRequest(f"{field} has more than {most} {unit} in all.", param=field)
