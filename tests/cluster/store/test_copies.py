"""Copies of stored folders: what is used or wanted stays, the rest goes after a day."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from cluster.store.artifacts import Artifacts
from cluster.store.copies import UNUSED_AFTER, mark, remove_unused


def _age(copy: Path) -> None:
    then = time.time() - UNUSED_AFTER - 60
    os.utime(copy, (then, then))


def _copies(cache: Path, *names: str) -> list[str]:
    """Old copies, by their URIs."""
    uris = [f"adapters/{name[:2]}/{name}" for name in names]
    for uri in uris:
        (cache / uri).mkdir(parents=True)
        (cache / uri / "weights").write_text("w")
        _age(cache / uri)
    return uris


def test_a_copy_that_is_neither_wanted_nor_in_use_goes(tmp_path: Path) -> None:
    wanted, used, unused, left = _copies(tmp_path, "wanted", "used", "unused", "incoming-1")
    mark([used, "adapters/no/thing"], tmp_path)
    remove_unused("adapters", {wanted}, tmp_path)
    assert {p.parent.name for p in tmp_path.rglob("weights")} == {"wanted", "used"}
    assert not (tmp_path / unused).exists()
    assert not (tmp_path / left).exists()
    remove_unused("adapters", {wanted}, tmp_path)
    remove_unused("adapters", {wanted}, tmp_path / "none")


def test_who_fetches_a_copy_marks_it(tmp_path: Path) -> None:
    store, cache, source = Artifacts(f"memory://{tmp_path.name}"), tmp_path / "c", tmp_path / "s"
    source.mkdir()
    (source / "a").write_text("a")
    blob = store.put_folder("adapters", source)
    copy = store.fetch_folder(blob.uri, cache)
    _age(copy)
    assert store.fetch_folder(blob.uri, cache) == copy
    remove_unused("adapters", (), cache)
    assert (copy / "a").read_text() == "a"
    _age(copy)
    remove_unused("adapters", (), cache)
    assert (store.fetch_folder(blob.uri, cache) / "a").read_text() == "a"


def test_a_copy_that_cannot_be_removed_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _copies(tmp_path, "one", "two")
    tried = []

    def refuse(path: Path) -> None:
        tried.append(path)
        raise PermissionError("no")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    remove_unused("adapters", (), tmp_path)
    assert len(tried) == 2
