"""What `serve_config.yaml` may say of replicas and resources."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from cluster.errors import ConfigurationError
from cluster.settings import Settings
from deployments.llm import LLMArgs, engine_options
from deployments.llm import places as places_of
from deployments.scale import Scale
from deployments.source import resolve
from tests.markdown import Page

ROOT = Path(__file__).parents[2]
BUDGIE = {"name": "budgie", "source": "package:train.budgie/weights"}


def test_fixed_replicas_and_autoscaling_become_serves_options() -> None:
    fixed = Scale.read({"replicas": 2, "resources": {"cpus": 0.5, "gpus": 1}})
    assert fixed.options() == {
        "ray_actor_options": {"num_cpus": 0.5, "num_gpus": 1},
        "num_replicas": 2,
        "max_surge_percent": 0,
    }
    scaling = Scale.read({"autoscaling": {"min": 1, "max": 4, "target": 8}}).options("m:f")
    assert scaling["autoscaling_config"]["max_replicas"] == 4
    assert scaling["autoscaling_config"]["policy"] == {"policy_function": "m:f"}
    assert "num_replicas" not in scaling


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({}, True),
        ({"resources": {"cpus": 1}}, True),
        ({"resources": {"gpus": 1}}, False),
        ({"resources": {"gpus": 1}, "surge": True}, True),
        ({"surge": False}, False),
    ],
)
def test_a_successor_comes_first_unless_it_needs_the_gpu(
    given: dict[str, object], first: bool
) -> None:
    assert (Scale.read(given).options()["max_surge_percent"] > 0) == first


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**BUDGIE, "replica": 2}, ["args.replica=2", "Extra inputs"]),
        ({**BUDGIE, "scale": {"replicas": 0}}, ["args.scale.replicas=0", "greater than or equal"]),
        ({**BUDGIE, "scale": {"autoscaling": {"min": 3, "max": 2}}}, ["autoscaling.max is 2"]),
        ({"source": "x"}, ["args.name", "Field required"]),
        ({**BUDGIE, "name": "a@b"}, ["args.name='a@b'"]),
        ({**BUDGIE, "engine": {"port": 1}}, ["engine.port"]),
        (
            {**BUDGIE, "max_queue": 8, "scale": {"autoscaling": {"max": 2, "target": 9}}},
            ["autoscaling.target is 9", "no more than 8"],
        ),
        (
            {
                **BUDGIE,
                "engine": {"max_num_seqs": 8},
                "scale": {"autoscaling": {"max": 2, "target": 16}},
            },
            ["autoscaling.target is 16", "no more than 10"],
        ),
        ({**BUDGIE, "engine": {"trust_remote_code": True}}, ["engine.trust_remote_code"]),
        (
            {**BUDGIE, "engine": {"enable_prompt_tokens_details": False}},
            ["engine.enable_prompt_tokens_details"],
        ),
        ({**BUDGIE, "resident_adapters": 0}, ["args.resident_adapters=0"]),
        (
            {**BUDGIE, "resident_adapters": 9, "engine": {"max_cpu_loras": 8}},
            ["resident_adapters is 9", "engine.max_cpu_loras 8"],
        ),
        ({**BUDGIE, "routing": "fastest"}, ["args.routing='fastest'", "'load' or 'prefix'"]),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(
    given: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        LLMArgs.read(given)
    for word in words:
        assert word in refused.value.message


@pytest.mark.parametrize(
    ("engine", "resident", "kept", "places"),
    [
        ({"max_loras": 4, "max_cpu_loras": 64}, None, 64, 64),
        ({"max_loras": 4, "max_cpu_loras": 64}, 10, 64, 10),
        ({"max_loras": 4}, 10, 10, 10),
        ({"max_loras": 4}, 2, 4, 2),
        ({}, 2, 2, 2),
    ],
)
def test_the_engine_keeps_as_many_adapters_as_a_replica_may_hold(
    engine: dict[str, int], resident: int | None, kept: int, places: int
) -> None:
    args = LLMArgs.read({**BUDGIE, "engine": engine, "resident_adapters": resident})
    assert engine_options(args.engine, args.resident_adapters)["max_cpu_loras"] == kept
    assert places_of(args, SimpleNamespace(adapter_places=kept)) == places  # type: ignore[arg-type]


def test_the_documents_examples_are_taken() -> None:
    page = Page(ROOT / "docs" / "adapters.md")
    for block in page.blocks("yaml"):
        assert LLMArgs.read(yaml.safe_load(block)["args"]).name == "my-model"
    settings = [word for word in page.spans() if word.startswith("LORIKEET_")]
    assert {word.removeprefix("LORIKEET_").lower() for word in settings} <= {*Settings.model_fields}


def test_a_source_is_a_folder_a_package_or_a_hubs_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert resolve(str(tmp_path)) == str(tmp_path)
    assert resolve("org/model") == "org/model"
    assert resolve("package:train.budgie/weights").endswith("train/budgie/weights")
    for wrong in ("/no/such/folder", "package:no_such_package/x", "package:train.budgie/nothing"):
        with pytest.raises(ConfigurationError, match="there is no"):
            resolve(wrong)
