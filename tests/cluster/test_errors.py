"""The tree of errors: what its docstring draws is what there is."""

from __future__ import annotations

import re

import pytest

from cluster import errors
from cluster.errors import LorikeetError, ModelNotFound, Unavailable


def _classes() -> list[type[LorikeetError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, LorikeetError)
    ]


def test_the_drawing_is_complete() -> None:
    drawing = errors.__doc__ or ""
    assert {made.__name__ for made in _classes()} <= set(re.findall(r"[A-Z]\w+", drawing))
    statuses = dict(re.findall(r"── ([A-Z]\w+) +(\d{3})", drawing))
    assert len(statuses) > 10
    for made in _classes():
        if made.__name__ in statuses:
            assert made.status == int(statuses[made.__name__]), made


@pytest.mark.parametrize("made", _classes())
def test_each_has_a_status_a_type_and_a_code(made) -> None:
    assert 400 <= made.status <= 599
    assert re.fullmatch(r"[a-z_]+", made.type)
    assert re.fullmatch(r"[a-z_]+", made.code)


def test_a_code_may_be_given_to_one_error_only() -> None:
    assert errors.Conflict("x", code="special").code == "special"
    assert errors.Conflict("x").code == "conflict"


def test_what_callers_see() -> None:
    error = ModelNotFound("gpt-x")
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "'gpt-x'" in error.message
    assert Unavailable("x").retry_after == 2.0
