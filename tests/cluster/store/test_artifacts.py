"""Bytes by their digest, on a local folder and on another file system."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.store.artifacts import Artifacts


@pytest.fixture(params=["file", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    url = tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}"
    return Artifacts(url)


async def _pieces(*pieces: bytes, fail: bool = False) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if fail:
        raise ConnectionError("the caller left")


def _left(artifacts: Artifacts) -> list[str]:
    return [p for p in artifacts.fs.find(artifacts.root) if "incoming" in p]


async def test_a_stream_is_stored_under_its_digest_and_read_again(artifacts: Artifacts) -> None:
    blob = await artifacts.put("files", _pieces(b"ab", b"c"))
    assert blob.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert (blob.bytes, b"".join(artifacts.read(blob.uri))) == (3, b"abc")
    assert (await artifacts.put("files", _pieces(b"abc"))).uri == blob.uri
    artifacts.delete(blob.uri)
    artifacts.delete(blob.uri)
    with pytest.raises(FileNotFoundError):
        list(artifacts.read(blob.uri))


async def test_a_stream_that_breaks_leaves_nothing(artifacts: Artifacts) -> None:
    with pytest.raises(ConnectionError):
        await artifacts.put("files", _pieces(b"ab", fail=True))
    assert _left(artifacts) == []


def test_a_folder_is_one_digest_whatever_its_dates(artifacts: Artifacts, tmp_path: Path) -> None:
    blobs = []
    for name in ("one", "two"):
        folder = tmp_path / "sources" / name
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_text("a")
        (folder / "sub" / "b").write_text("b")
        blobs.append(artifacts.put_folder("adapters", folder))
    assert blobs[0] == blobs[1]
    assert blobs[0].bytes == 2
    fetched = artifacts.fetch_folder(blobs[0].uri, tmp_path / "cache")
    assert (fetched / "sub" / "b").read_text() == "b"
    assert artifacts.fetch_folder(blobs[0].uri, tmp_path / "cache") == fetched
    assert _left(artifacts) == []


def test_several_who_store_one_folder_at_once_store_it_once(tmp_path: Path) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri())
    source = tmp_path / "source"
    source.mkdir()
    for index in range(20):
        (source / str(index)).write_text("x" * index)
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(lambda _: artifacts.put_folder("adapters", source), range(16)))
    assert len({blob.uri for blob in blobs}) == 1
    stored = artifacts.local(blobs[0].uri)
    assert stored is not None
    assert sorted(p.name for p in stored.iterdir()) == sorted(str(i) for i in range(20))
    assert _left(artifacts) == []


@pytest.mark.parametrize("uri", ["../x", "a//b", "/etc/passwd", "a/./b", ""])
def test_a_name_never_leaves_the_store(artifacts: Artifacts, uri: str) -> None:
    with pytest.raises(AssertionError):
        artifacts.path(uri)
