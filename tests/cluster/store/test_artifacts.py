"""The artifact store: names are digests, and a name that exists is whole."""

from __future__ import annotations

import hashlib

import pytest

from cluster.store.artifacts import Artifacts


@pytest.fixture
def store(tmp_path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


async def chunks(*parts: bytes, then: Exception | None = None):
    for part in parts:
        yield part
    if then is not None:
        raise then


async def test_bytes_are_named_by_their_digest(store) -> None:
    blob = await store.put("files", chunks(b"one, ", b"two"))
    digest = hashlib.sha256(b"one, two").hexdigest()
    assert (blob.sha256, blob.bytes) == (digest, 8)
    assert blob.uri == f"files/{digest[:2]}/{digest}"
    assert store.fs.cat_file(store.path(blob.uri)) == b"one, two"
    assert await store.put("files", chunks(b"one, two")) == blob


async def test_a_stream_that_breaks_leaves_nothing(store) -> None:
    with pytest.raises(ConnectionError):
        await store.put("files", chunks(b"one", then=ConnectionError()))
    assert store.fs.find(store.root) == []


async def test_a_folder_is_named_by_its_files(store, tmp_path) -> None:
    source = tmp_path / "adapter"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "deep" / "b.txt").write_text("b")
    blob = store.put_folder("adapters", source)
    assert store.put_folder("adapters", source) == blob
    folder = store.fetch_folder(blob.uri, tmp_path / "cache")
    assert (folder / "deep" / "b.txt").read_text() == "b"
    (source / "a.txt").write_text("changed")
    assert store.put_folder("adapters", source).uri != blob.uri


async def test_a_remote_store_is_fetched_once(tmp_path) -> None:
    store = Artifacts("memory://artifacts")
    source = tmp_path / "adapter"
    source.mkdir()
    (source / "a.txt").write_text("a")
    blob = store.put_folder("adapters", source)
    folder = store.fetch_folder(blob.uri, tmp_path / "cache")
    assert (folder / "a.txt").read_text() == "a"
    assert store.fetch_folder(blob.uri, tmp_path / "cache") == folder
    assert store.local(blob.uri) is None


@pytest.mark.parametrize("uri", ["../x", "a/../../x", "/etc/passwd", "a//b", ""])
def test_a_uri_stays_inside(store, uri) -> None:
    with pytest.raises(AssertionError):
        store.path(uri)
