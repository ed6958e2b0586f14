"""Two tenants, one of whom floods: what is read and what is printed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
import yaml

from bench import fairness
from bench.chat import Endpoint
from bench.steady import Times, steady
from bench.table import render
from bench.tenants import tenant
from cluster.settings import Settings
from cluster.store.redis import connect
from cluster.store.sql import Database
from cluster.tenancy.authenticate import Authenticator
from cluster.tenancy.bootstrap import bootstrap

EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: bytes) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(EVENT))
        await asyncio.sleep(0.02)
        writer.write(pieces)


async def served(pieces: bytes, seconds: float) -> object:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer, pieces)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await steady(Endpoint("127.0.0.1", port, "m"), 2, seconds)


async def test_each_answer_is_timed_to_its_first_content_and_to_its_end() -> None:
    times = await served(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n", 0.3)
    assert isinstance(times, Times)
    assert len(times.ttft) == len(times.latency) > 4
    assert all(
        10 <= ttft <= latency - 15 for ttft, latency in zip(*vars(times).values(), strict=True)
    )


async def test_an_answer_that_is_not_whole_is_no_time() -> None:
    with pytest.raises(RuntimeError, match="not a whole answer"):
        await served(b"0\r\n\r\n", 0.1)


def test_the_engine_is_narrowed_and_nothing_else(tmp_path: Path) -> None:
    made = yaml.safe_load(fairness.narrowed(tmp_path / "c.yaml", 16).read_text())
    given = yaml.safe_load(fairness.default_config().read_text())
    (model,) = [one for one in made["applications"] if one["name"] == "budgie"]
    assert model["args"]["engine"].pop("max_num_seqs") == 16
    assert made == given


def test_the_table_has_the_ratio_of_the_pairs(tmp_path: Path) -> None:
    def cell(others: int, p95: float) -> dict[str, object]:
        return {"others": others, "requests": 9, "ttft": [10, 20], "latency": [100, p95]}

    result = {
        "kind": "fairness",
        "date": "2026-01-01 00:00:00",
        "command": "c",
        "machine": {"cpu": "c", "cores": 2, "memory_gib": 24},
        "versions": {"vllm": "1"},
        "at_once": 16,
        "callers": 2,
        "seconds": 15.0,
        "pairs": [
            {"fair": cell(14, 200), "flood": cell(140, flood)} for flood in (220.0, 260.0, 400.0)
        ],
    }
    path = tmp_path / "fairness.json"
    path.write_text(json.dumps(result))
    table = render(path)
    assert "| 140 | 27 | 10 | 20 | 100 | 260 |" in table
    assert "p95 of latency, flood over fair share: 1.30 [1.10 to 2.00]; the bar is 1.5" in table


def test_tenants_are_organizations_of_their_own(
    tmp_path: Path, redis_url: str, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "lorikeet.db")
    monkeypatch.setenv("LORIKEET_REDIS_URL", redis_url)
    settings = Settings(home=home)

    async def prepare() -> None:
        database = Database(settings.sql_url)
        await bootstrap(settings, database)
        await database.close()

    async def organization(key: str) -> str:
        database, redis = Database(settings.sql_url), connect(settings.redis)
        authenticator = Authenticator(database, redis)
        try:
            return (await authenticator.authenticate(f"Bearer {key}")).organization_id
        finally:
            await authenticator.close()
            await redis.aclose()
            await database.close()

    asyncio.run(prepare())
    door = Endpoint("127.0.0.1", 1, "budgie", "admin")
    made = [tenant(home, door, slug) for slug in ("tenant-a", "tenant-b")]
    assert [one.model for one in made] == ["budgie"] * 2
    assert len({asyncio.run(organization(one.key)) for one in made}) == 2
