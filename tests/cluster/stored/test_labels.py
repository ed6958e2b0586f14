"""The bounds of metadata."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from cluster.stored.labels import labels


def test_what_is_within_the_bounds_passes() -> None:
    assert labels(None) == {}
    most = {"k" * 62 + f"{n:02}": "é" * 512 for n in range(16)}
    assert labels(most) == most


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        ([], "metadata", "an object"),
        ({str(n): "" for n in range(17)}, "metadata", "17 pairs"),
        ({"k" * 65: ""}, "metadata", "65 characters"),
        ({"a": "v" * 513}, "metadata.a", "513 characters"),
        ({"a": 1}, "metadata.a", "a string, not int"),
        ({"a": None}, "metadata.a", "a string"),
        ({"a": "\0"}, "metadata", "NUL"),
        ({"\0": "a"}, "metadata", "NUL"),
    ],
)
def test_what_is_not_is_named(given: object, param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        labels(given)
    assert refused.value.param == param
