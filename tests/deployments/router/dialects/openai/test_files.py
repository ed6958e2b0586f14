from __future__ import annotations

import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.cluster.jobs.world import World, facts
from tests.deployments.router.dialects.openai.serving import Served, serve


async def test_the_openai_client_uploads_reads_and_deletes(ann: Served) -> None:
    client: AsyncOpenAI = ann.openai
    file = await client.files.create(file=("d.jsonl", facts()), purpose="fine-tune")
    assert (file.object, file.bytes, file.filename) == ("file", len(facts()), "d.jsonl")
    assert (await client.files.retrieve(file.id)).id == file.id
    assert (await client.files.content(file.id)).content == facts()
    other = await client.files.create(file=("ü b.txt", b"x" * 3_000_000), purpose="user_data")
    listed = [found.id async for found in client.files.list(limit=1, order="asc")]
    assert listed == [file.id, other.id]
    answer = await client.files.with_raw_response.content(other.id)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%20b.txt"
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(NotFoundError) as caught:
        await client.files.retrieve(file.id)
    assert caught.value.param == "file_id"


async def test_a_foreign_file_is_not_found(ann: Served, bob: Served) -> None:
    file = await ann.openai.files.create(file=("d", b"x"), purpose="user_data")
    for path in (f"/v1/files/{file.id}", f"/v1/files/{file.id}/content"):
        assert (await bob.http.get(path)).status_code == 404
    assert (await bob.http.delete(f"/v1/files/{file.id}")).status_code == 404


async def test_a_nul_in_the_path_or_the_query_is_the_callers_mistake(both: World) -> None:
    async for ann in serve(both, both.ann):
        assert (await ann.http.get("/v1/files/%00")).status_code in (400, 404)
        assert (await ann.http.get("/v1/files?after=%00")).status_code == 400
        assert (await ann.http.get("/v1/fine_tuning/jobs/%00")).status_code in (400, 404)


GOOD = {"purpose": "fine-tune"}


@pytest.mark.parametrize(
    ("content", "data", "status", "param"),
    [
        (b"", GOOD, 400, "file"),
        (b"\xff\xfe", GOOD, 400, "file"),
        (b"x" * (10 << 20), GOOD, 400, "file"),
        (b"{}", {}, 400, "purpose"),
        (b"{}", {"purpose": "wat"}, 400, "purpose"),
        (b"{}", {"purpose": "batch", "color": "red"}, 400, "color"),
        (b"x" * (12 << 20), {"purpose": "user_data"}, 413, "file"),
    ],
)
async def test_bad_uploads(
    ann: Served, content: bytes, data: dict[str, str], status: int, param: str
) -> None:
    answer = await ann.http.post("/v1/files", files={"file": ("d", content)}, data=data)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert (await ann.http.get("/v1/files")).json()["data"] == []


async def test_bodies_that_are_no_form(ann: Served) -> None:
    assert (await ann.http.post("/v1/files", json={})).status_code == 400
    assert (await ann.http.post("/v1/files", data=GOOD, files={})).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"garbage", b"--x\r\nno header", b""):
        assert (await ann.http.post("/v1/files", content=body, headers=headers)).status_code == 400
    headers = {"content-type": "multipart/form-data"}
    assert (await ann.http.post("/v1/files", content=b"", headers=headers)).status_code == 400
    sent = {"file": "not a file", "purpose": "batch"}
    answer = await ann.http.post("/v1/files", files={k: (None, v) for k, v in sent.items()})
    assert answer.json()["error"]["param"] == "file"


async def test_a_stream_without_a_length_is_bounded(ann: Served) -> None:
    async def endless():  # type: ignore[no-untyped-def]
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="d"\r\n\r\n'
        for _ in range(14):
            yield b"x" * (1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await ann.http.post("/v1/files", content=endless(), headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "after=file-0"])
async def test_bad_queries(ann: Served, query: str) -> None:
    answer = await ann.http.get(f"/v1/files?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


async def test_scopes(inferring: Served) -> None:
    assert (await inferring.http.get("/v1/files")).status_code == 403
    assert (await inferring.http.delete("/v1/files/file-0")).status_code == 403
