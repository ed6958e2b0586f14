"""What is compared: models, adapters, transports, and the configuration made for them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from bench import serving
from bench.chat import TOPICS, Endpoint, turns
from bench.systems.engine import Engine
from bench.systems.ray_serve_llm import RayServeLlm
from bench.systems.vllm import Vllm
from cluster.embedded.serve_config import read_config
from deployments.llm import LLMArgs


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    weights = tmp_path / "other-weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    return Engine(weights, "other", adapters=(tmp_path / "one", tmp_path / "two"))


def test_another_model_takes_budgies_place_in_the_products_configuration(
    engine: Engine, tmp_path: Path
) -> None:
    made = read_config(serving.configured(engine, tmp_path))
    products = yaml.safe_load((serving.ROOT / "serve_config.yaml").read_text())
    (other,) = (one for one in made["applications"] if one["name"] == "other")
    (budgie,) = (one for one in products["applications"] if one["name"] == "budgie")
    args = LLMArgs.read(other["args"])
    assert (args.name, args.source) == ("other", str(engine.weights))
    assert other["args"]["engine"] == budgie["args"]["engine"]
    assert other["runtime_env"] == budgie["runtime_env"]
    names = [one["name"] for one in made["applications"]]
    assert names == [n["name"].replace("budgie", "other") for n in products["applications"]]


def test_lorikeet_runs_as_it_comes_unless_the_model_is_another(
    engine: Engine, tmp_path: Path
) -> None:
    own = serving.lorikeet(Engine(serving.BUDGIE), tmp_path)
    assert (own.name, own.config, own.variables["LORIKEET_TRANSPORT"]) == (
        "lorikeet", None, "socket",
    )  # fmt: skip
    other = serving.lorikeet(engine, tmp_path, "handle")
    assert (other.name, other.variables["LORIKEET_TRANSPORT"]) == ("lorikeet-handle", "handle")
    assert other.config is not None
    assert other.home != own.home


def test_both_systems_are_asked_for_the_same_models(engine: Engine, tmp_path: Path) -> None:
    lorikeet = serving.lorikeet(engine, tmp_path)
    lorikeet.home.mkdir()
    (lorikeet.home / "admin.key").write_text("lk-x\n")
    models = Vllm(engine, tmp_path).endpoint.models
    assert models == lorikeet.endpoint.models == ("other", "one", "two")


def test_direct_streaming_is_switched_on_and_kept_to_this_machine(
    engine: Engine, tmp_path: Path
) -> None:
    system = RayServeLlm(engine, tmp_path, direct=True)
    assert system.name == "ray-serve-llm-direct"
    system.home = tmp_path / "home"
    system.home.mkdir()
    try:
        given = system.direct_streaming()
    finally:
        system.stop()
    assert given["RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"] == "1"
    assert given["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert given["RAY_SERVE_HAPROXY_BINARY_PATH"].startswith(str(tmp_path / "home"))
    assert not system.home.exists()


@pytest.mark.parametrize("adapters", [0, 1, 3])
def test_requests_go_to_all_models_by_turns(adapters: int) -> None:
    names = tuple(f"a{number}" for number in range(adapters))
    endpoint = Endpoint("127.0.0.1", 1, "base", "k", names)
    sent = [
        json.loads(request.partition(b"\r\n\r\n")[2])
        for request in turns(endpoint, 5, stream=True, tokens=7)
    ]
    assert {one["max_tokens"] for one in sent} == {7}
    asked = Counter((one["model"], one["messages"][0]["content"]) for one in sent)
    assert len(asked) == len(TOPICS) * (adapters + 1)
    assert set(asked.values()) == {1}
    if adapters:
        assert sent[0]["model"] != sent[1]["model"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--systems", "nobody"], "is none of"),
        (["--systems", "lorikeet,litellm", "--adapters", "3"], "litellm is not compared"),
        (["--model", "/nowhere"], "holds no config.json"),
        (["--cells", "burst:1"], "expected stream:N"),
    ],
)
def test_what_makes_no_sense_is_refused(given: list[str], told: str) -> None:
    app = serving.typer.Typer()
    app.command()(serving.main)
    result = CliRunner().invoke(app, given, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
