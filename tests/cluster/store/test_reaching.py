"""An object store's own errors are named at one place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cluster.errors import Unavailable
from cluster.store.artifacts import Artifacts, Blob

AWAY = EndpointConnectionError(endpoint_url="http://s3")
REFUSED = ClientError({"Error": {"Code": "SlowDown", "Message": "slow"}}, "PutObject")


class Away:
    """A file system of which nothing answers."""

    protocol = "s3"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: object, **__: object) -> Any:
            raise self._error

        return fail


async def _chunks(error: Exception | None = None) -> AsyncIterator[bytes]:
    yield b"x"
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [AWAY, REFUSED, PermissionError("no"), TimeoutError()])
async def test_what_the_stores_library_raises_is_unavailable(
    tmp_path: Path, error: Exception
) -> None:
    store = Artifacts(f"memory://{tmp_path.name}")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    store.fs = Away(error)
    calls: list[Callable[[], object]] = [
        lambda: store.put_folder("adapters", source),
        lambda: store.holds(Blob("a/b", 1, "b")),
        lambda: store.exists("a/b"),
        lambda: store.fetch_folder("a/b", tmp_path / "cache"),
        lambda: list(store.read("a/b")),
        lambda: store.delete("a/b"),
    ]
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            call()
        assert caught.value.__cause__ is error
    with pytest.raises(Unavailable):
        await store.put("files", _chunks())


async def test_the_callers_own_error_stays_what_it_is(tmp_path: Path) -> None:
    store = Artifacts(tmp_path.as_uri())
    with pytest.raises(ConnectionResetError):
        await store.put("files", _chunks(ConnectionResetError("left")))
    with pytest.raises(FileNotFoundError):
        store.fetch_folder("a/b", tmp_path / "cache")


def test_half_a_folder_on_an_object_store_is_completed(tmp_path: Path) -> None:
    store = Artifacts(f"memory://{tmp_path.name}")
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    blob = store.put_folder("adapters", tmp_path)
    store.fs.rm(store.path(f"{blob.uri}/b"))
    assert not store.holds(blob)
    assert store.put_folder("adapters", tmp_path) == blob
    assert store.holds(blob)
