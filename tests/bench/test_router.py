"""What the router adds: the differences of neighbouring cells, and its CPU for each request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import router
from bench.table import render
from cluster.embedded.serve_config import read_config
from deployments.router.app import RouterArgs


def sample(first: float, last: float) -> dict[str, Any]:
    return {
        "requests": 3000, "rate": 300.0, "ttft": [first, 2 * first], "latency": [last, 2 * last],
        "events": 70, "errors": {}, "cpu": {"router": 0.45, "proxy": 0.09}, "late": [0.1, 1.5],
    }  # fmt: skip


def pair(offered: float, added: float, **more: Any) -> dict[str, Any]:
    with_it = sample(10 + added, 100 + added) | more
    return {"rate": offered, "stream": True, "engine": sample(10, 100), "router": with_it}


def test_the_table_has_medians_of_pairs_and_cpu_for_each_request(tmp_path: Path) -> None:
    result = {
        "kind": "router", "transport": "socket", "date": "d", "command": "c", "seconds": 10.0,
        "machine": {"cpu": "c", "cores": 2, "memory_gib": 24}, "versions": {"ray": "2"},
        "pairs": [pair(300, 2), pair(300, 4), pair(300, 3, errors={"HTTP 503": 2}), pair(100, 1)],
    }  # fmt: skip
    path = tmp_path / "one.json"
    path.write_text(json.dumps(result))
    first, second = render(path).splitlines()[-2:]
    assert first.startswith("| stream, 100/s | 300 | +1.0 [+1.0 to +1.0] | +2.0 ")
    assert second.startswith("| stream, 300/s | 300 | +3.0 [+2.0 to +4.0] | +6.0 [+4.0 to +8.0]")
    assert "| 1.50 | 667 | 0.30 | 1.5 | 2 |" in second


def test_a_cell_without_answers_adds_nothing_that_is_known() -> None:
    dead = pair(1000, 0, ttft=[], latency=[], rate=0.0)
    assert router.added(dead, "ttft", 0) is None
    assert router.cost(dead, "router") == 0
    assert "added p99 - ms" in router.progress(dead)


def test_the_configuration_is_the_products_router_before_the_fake_engine(tmp_path: Path) -> None:
    made = read_config(router.configuration(tmp_path, 4321))
    paced, front = made["applications"]
    assert paced["args"]["port"] == 4321
    assert paced["import_path"] == "bench.paced.deployment:app"
    products = read_config(router.CONFIG.parents[1] / "serve_config.yaml")["applications"]
    (own,) = (one for one in products if one["name"] == "router")
    assert {k: front[k] for k in ("route_prefix", "import_path")} == {
        k: own[k] for k in ("route_prefix", "import_path")
    }
    assert RouterArgs.read(front["args"]) == RouterArgs.read(own["args"])


@pytest.mark.parametrize(("rate", "tokens"), [(100, 200), (300, 67), (1000, 20)])
def test_the_engine_makes_as_many_tokens_at_every_rate(
    rate: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    monkeypatch.setattr(router, "measure", lambda _, job: jobs.append(job))
    router.cell(router.Direct(None, 1), rate, True, 5.0)  # type: ignore[arg-type]
    assert (jobs[0].tokens, jobs[0].rate, jobs[0].seconds) == (tokens, rate, 5.0)
    assert tokens * rate == pytest.approx(router.TOKENS_PER_SECOND, rel=0.01)
