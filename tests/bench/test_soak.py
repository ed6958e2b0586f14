"""What the soak makes of what it saw, and its traffic against a server of known answers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from bench import memory, soak
from bench.chat import Endpoint
from bench.memory import Reading, curves
from bench.table import render
from bench.traffic import CHAT, VISITS, Traffic


def readings(*router: float) -> list[Reading]:
    return [
        Reading(60.0 * index, {"router": value, "engine": 900.0})
        for index, value in enumerate(router)
    ]


def result(*router: float, **more: object) -> dict[str, object]:
    return {
        "date": "d", "command": "c", "machine": {"cpu": "c", "cores": 2, "memory_gib": 24},
        "versions": {"ray": "2"}, "seconds": 600, "callers": 8, "bound": 8.0,
        "made": {"stream": 10}, "wrong": {}, "left": 0,
        "readings": [one.__dict__ for one in readings(*router)], **more,
    }  # fmt: skip


def test_the_warm_up_does_not_count_and_the_slope_does() -> None:
    found = curves(readings(50, 90, 100, 101, 102, 103), warm=120)
    router = next(one for one in found if one.role == "router")
    assert (router.first, router.last, router.most) == (100, 103, 103)
    assert router.slope == pytest.approx(60)  # one MiB a minute
    assert found[0].role == "engine"
    assert found[0].slope == 0
    with pytest.raises(ValueError, match="fewer than two"):
        curves(readings(1, 2), warm=120)


def test_a_flat_curve_passes_and_a_steep_one_does_not(tmp_path: Path) -> None:
    assert soak.faults(result(50, 100, 101, 100, 101)) == []
    (told,) = soak.faults(result(50, 100, 105, 110, 115))
    assert "grew by 10.0 MiB" in told
    assert soak.faults(result(100, 100, 100, wrong={"stream: HTTP 500": 2})) == [
        "2 x stream: HTTP 500"
    ]
    assert len(soak.faults(result(100, 100, 100, left=3))) == 1
    path = tmp_path / "soak.json"
    path.write_text(json.dumps({"kind": "soak", **result(50, 100, 101, 102, 103)}))
    assert "| router | 101.0 | 103.0 | 103.0 | +60.0 |" in render(path)
    assert "Every answer was as it should be." in render(path)


def test_memory_is_read_of_living_processes() -> None:
    ended = subprocess.Popen(["true"])
    gone = psutil.Process(ended.pid)
    ended.wait()
    found = memory.read([gone, psutil.Process(os.getpid())], began=0.0)
    assert sum(found.pss.values()) > 10


@pytest.mark.parametrize("broken", [False, True])
def test_every_kind_of_visit_knows_a_good_answer_from_a_bad_one(broken: bool) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if broken:
            return httpx.Response(500, text="broken")
        if "lk-" in request.headers["authorization"] and request.method == "GET":
            return httpx.Response(401)
        content = json.loads(request.content)
        if request.url.path != CHAT:
            return httpx.Response(200, json={})
        if str(content["model"]).startswith("no-"):
            return httpx.Response(404, json={"error": {"code": "model_not_found"}})
        if content["temperature"] < 0:
            return httpx.Response(400, json={"error": {"code": "invalid_request"}})
        if len(content["messages"][0]["content"]) > 10_000:
            return httpx.Response(400, json={"error": {"code": "context_length_exceeded"}})
        if not content["stream"] and content["max_tokens"] == 500:
            raise httpx.ReadTimeout("it takes its time")
        return httpx.Response(200, content=b"data: {}\n\ndata: [DONE]\n\n")

    async def visit() -> Traffic:
        traffic = Traffic(Endpoint("127.0.0.1", 1, "budgie", "k"), callers=2, seed=1)
        await traffic.http.aclose()
        traffic.http = httpx.AsyncClient(
            transport=httpx.MockTransport(answer), base_url="http://x", headers={
                "authorization": "Bearer k"
            }
        )  # fmt: skip
        await traffic.run(0.5)
        await traffic.close()
        return traffic

    traffic = asyncio.run(visit())
    assert set(traffic.made) == {one.name for one in VISITS}
    if broken:
        assert sum(traffic.wrong.values()) == sum(traffic.made.values())
    else:
        assert traffic.wrong == {}
