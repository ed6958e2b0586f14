"""Ratios, their spread, the schedule, and the table made of them."""

from pathlib import Path

import pytest

from bench.cpu import Clock, Rest, role, shares
from bench.pairs import Cell, Pair, schedule, spread
from bench.quantile import median, quantile
from bench.report import Report, markdown, rows
from bench.sample import Sample


def sample(rate: float, ttft: float = 70.0, errors: int = 0) -> Sample:
    return Sample(
        requests=int(rate * 10),
        rate=rate,
        ttft=[ttft, 2 * ttft],
        latency=[500.0, 900.0],
        events=66,
        errors={"HTTP 500": errors} if errors else {},
        cpu={"engine": 1.0, "load": 0.1},
    )


def pair(name: str, index: int, reference: Sample, candidate: Sample) -> Pair:
    return Pair(name, Cell(True, 32), index, index % 2 == 0, reference, candidate)


def report(pairs: list[Pair]) -> Report:
    return Report(
        date="2026-11-21 10:00:00",
        command="python -m bench.serving",
        machine={
            "cpu": "c", "cores": 2, "memory_gib": 24, "system": "Linux", "load_before": 0.1,
        },
        versions={"ray": "2.60.0"},
        settings={"seconds": 10.0, "pairs": 3, "model": "budgie", "engine": {"max_loras": 4}},
        rest={"vllm": Rest(2000, 3, {"engine": 0.01})},
        texts_agree={"x": False},
        failures={"y": "it did not start"},
        pairs=pairs,
    )  # fmt: skip


PAIRS = [
    pair("x", 0, sample(50, 60), sample(25, 90)),
    pair("x", 1, sample(40, 70), sample(24, 80)),
    pair("x", 2, sample(60, 80), sample(24, 100, errors=2)),
]


def test_quantiles() -> None:
    values = [float(one) for one in range(101)]
    assert (quantile(values, 0.5), quantile(values, 0.99)) == (50, 99)
    assert median([4, 1, 3, 2]) == 2.5
    assert quantile([7], 0.99) == 7
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_the_ratio_is_the_median_over_pairs() -> None:
    reference, candidate = rows(PAIRS)
    assert (reference.system, reference.rate, reference.ratio) == ("vllm", 50, None)
    assert candidate.ratio == spread([0.5, 0.6, 0.4])
    assert candidate.ratio is not None
    assert (candidate.ratio.median, candidate.ratio.low, candidate.ratio.high) == (0.5, 0.4, 0.6)
    assert candidate.added_ttft is not None
    assert candidate.added_ttft.median == 20
    assert candidate.ttft == [90, 180]
    assert candidate.errors == 2


def test_a_dead_sample_has_no_ratio() -> None:
    dead = pair("x", 0, sample(50), sample(0))
    assert dead.ratio is None
    assert rows([dead])[1].ratio is None


def test_schedule_alternates_within_a_round_and_between_rounds() -> None:
    cells = [Cell(True, 1), Cell(True, 8)]
    order = [(index, cell.parallel, first) for index, cell, first in schedule(cells, 2)]
    assert order == [(0, 1, True), (0, 8, False), (1, 1, False), (1, 8, True)]


@pytest.mark.parametrize("text", ["stream", "stream:0", "plain:x", "burst:8", ""])
def test_cells_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="cell"):
        Cell.parse(text)
    assert str(Cell.parse("plain:8")) == "plain:8"


def test_the_file_renders_as_the_run_did(tmp_path: Path) -> None:
    made = report(PAIRS)
    path = made.write(tmp_path)
    assert path.name == "serving-20261121-100000.json"
    again = Report.load(path)
    assert again == made
    table = markdown(again)
    assert table == markdown(made)
    assert "| stream, 32 | x | 24.0 | 0.50 [0.40 to 0.60] | 90 | 180 | +20 [+10 to +30]" in table
    assert "- y: not measured: it did not start" in table
    assert "Errors in all: 2." in table


def test_the_control_is_a_row_of_its_own() -> None:
    names = [row.system for row in rows([*PAIRS, pair("vllm", 0, sample(50), sample(51))])]
    assert names == ["vllm", "x", "vllm (control)"]


def test_cpu_shares_by_role() -> None:
    before = Clock(10.0, {(1, 0.0): ("engine", 5.0), (2, 0.0): ("load", 1.0)})
    after = Clock(12.0, {(1, 0.0): ("engine", 6.0), (3, 0.0): ("proxy", 0.5)})
    assert shares(before, after) == {"engine": 0.5, "proxy": 0.25}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("VLLM::EngineCore", "engine"),
        ("ray::ServeReplica:router:Router", "router"),
        ("ray::ServeReplica:llm:OpenAiIngress", "ingress"),
        ("ray::ServeReplica:llm:LLMServer:budgie", "llm replica"),
        ("ray::ProxyActor", "proxy"),
        ("/x/haproxy -f y", "proxy"),
        ("python -m vllm.entrypoints.openai.api_server --port 1", "api server"),
        ("/x/bin/litellm --port 1", "litellm"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name", "raylet, gcs"),
        ("python -m bench.load", "load"),
        ("ray::DashboardAgent", "ray agents"),
        ("python -m cluster.cli.app up --detached-child", "driver"),
        ("sleep 1", "other"),
    ],
)
def test_roles(command: str, name: str) -> None:
    assert role(command) == name
