from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from cluster.datasets.lines import MAX_LINE_BYTES
from cluster.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable
from cluster.files.files import Files
from cluster.files.screen import Screen
from cluster.store.page import Order
from cluster.store.schema import File
from tests.cluster.jobs.world import World, facts, stream


def blobs(world: World) -> list[Path]:
    root = Path(world.artifacts.root) / "files"
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


async def test_stored_read_listed_and_removed(both: World) -> None:
    ids = [await both.upload(both.ann, facts(n)) for n in (1, 2, 3)]
    row = await both.files.get(both.ann, ids[0])
    assert (row.bytes, row.filename, row.purpose) == (len(facts(1)), "d.jsonl", "fine-tune")
    assert b"".join(both.files.content(row)) == facts(1)
    page = await both.files.list(both.ann, limit=2, order=Order.ASCENDING, purpose="fine-tune")
    assert ([file.id for file in page.items], page.has_more) == (ids[:2], True)
    rest = await both.files.list(both.ann, after=ids[1], order=Order.ASCENDING)
    assert [file.id for file in rest.items] == ids[2:]
    assert (await both.files.list(both.ann, purpose="evals")).items == ()
    await both.files.delete(both.ann, ids[0])
    assert len(blobs(both)) == 2
    with pytest.raises(NotFound):
        await both.files.get(both.ann, ids[0])


async def test_another_organization_finds_nothing(world: World) -> None:
    file_id = await world.upload(world.ann)
    for call in (world.files.get, world.files.delete):
        with pytest.raises(NotFound):
            await call(world.bob, file_id)
    assert (await world.files.list(world.bob)).items == ()


async def test_equal_bytes_are_one_blob_until_the_last_row_goes(both: World) -> None:
    mine, theirs = await both.upload(both.ann), await both.upload(both.bob)
    assert len(blobs(both)) == 1
    await both.files.delete(both.ann, mine)
    assert len(blobs(both)) == 1
    await both.files.delete(both.bob, theirs)
    assert blobs(both) == []


async def test_uploads_and_deletions_at_once_leave_no_row_without_its_bytes(both: World) -> None:
    async def come_and_go() -> None:
        try:
            file_id = await both.upload(both.ann)
        except Unavailable:  # its bytes were just being deleted
            return
        await both.files.delete(both.ann, file_id)

    async def come_and_stay() -> list[str]:
        try:
            return [await both.upload(both.bob)]
        except Unavailable:
            return []

    kept, *_ = await asyncio.gather(come_and_stay(), *(come_and_go() for _ in range(8)))
    async with both.database.begin() as session:
        rows = list(await session.scalars(select(File)))
    assert [row.id for row in rows] == kept
    kept.append(await both.upload(both.bob))  # it works again, whatever there was
    for file_id in kept:
        row = await both.files.get(both.bob, file_id)
        assert b"".join(both.files.content(row)) == facts()
    for file_id in kept:
        assert len(blobs(both)) == 1
        await both.files.delete(both.bob, file_id)
    assert blobs(both) == []


async def test_a_deletion_between_the_bytes_and_their_row(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await both.upload(both.ann)
    put = both.artifacts.put

    async def overtaken(*given: Any) -> Any:
        blob = await put(*given)
        await both.files.delete(both.ann, first)
        return blob

    monkeypatch.setattr(both.artifacts, "put", overtaken)
    with pytest.raises(Unavailable, match="being deleted"):
        await both.upload(both.bob)
    assert blobs(both) == []
    assert (await both.files.list(both.bob)).items == ()


async def test_a_file_in_use_stays(both: World) -> None:
    job = await both.create(both.ann)
    with pytest.raises(Conflict, match=job.id):
        await both.files.delete(both.ann, job.training_file_id)
    await both.files.get(both.ann, job.training_file_id)
    await both.jobs.cancel(both.ann, job.id)
    await both.files.delete(both.ann, job.training_file_id)


async def test_what_is_refused_leaves_nothing(world: World) -> None:
    settings = world.settings.model_copy(update={"upload_max_bytes": 2 * MAX_LINE_BYTES})
    files = Files(world.database, world.artifacts, settings)

    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("gone")

    cases = [
        ("x", "fine-tune", stream(b""), InvalidRequest, "empty"),
        ("x", "fine-tune", stream(b" \n"), InvalidRequest, "empty"),
        ("x", "fine-tune", stream(b'{"a": 1}\n{"b": "\xe9"}'), InvalidRequest, "line 2: byte 0xe9"),
        ("x", "batch", stream(b"\n" + b"x" * (MAX_LINE_BYTES + 2)), InvalidRequest, "line 2"),
        ("x", "user_data", stream(b"x" * (2 * MAX_LINE_BYTES + 1)), TooLarge, "bytes"),
        ("x", "wat", stream(b"x"), InvalidRequest, "allowed are assistants, batch, fine-tune"),
        ("x", "fine-tune-results", stream(b"x"), InvalidRequest, "purpose"),
        ("", "user_data", stream(b"x"), InvalidRequest, "name"),
        ("x" * 256, "user_data", stream(b"x"), InvalidRequest, "name"),
        ("x", "user_data", breaks(), ConnectionResetError, "gone"),
    ]
    for name, purpose, chunks, error, says in cases:
        with pytest.raises(error, match=says):
            await files.upload(world.ann, filename=name, purpose=purpose, chunks=chunks)
    assert blobs(world) == []
    async with world.database.begin() as session:
        assert await session.scalar(select(func.count()).select_from(File)) == 0


async def test_a_path_is_no_part_of_a_name(world: World) -> None:
    row = await world.files.upload(
        world.ann, filename="..\\../etc/a.txt", purpose="user_data", chunks=stream(b"x")
    )
    assert row.filename == "a.txt"


@given(st.lists(st.binary(max_size=12)))
def test_the_screen_agrees_with_decoding_the_whole(chunks: list[bytes]) -> None:
    whole, screen = b"".join(chunks), Screen()
    try:
        whole.decode()
        good = bool(whole.strip())
    except UnicodeDecodeError:
        good = False
    try:
        for chunk in chunks:
            screen.feed(chunk)
        screen.end()
    except InvalidRequest:
        assert not good
    else:
        assert good
