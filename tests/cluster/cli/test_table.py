"""How values look in a table."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cluster.cli.table import moment


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "1970-01-01 09:00:00"),
        (None, None),
        (253402300799, "9999-12-31 23:59:59"),
    ],
)
@pytest.mark.usefixtures("tokyo")
def test_a_moment_is_the_readers_own_as_far_as_there_is_one(
    seconds: int | None, shown: str | None
) -> None:
    assert moment("at")({"at": seconds}) == shown
