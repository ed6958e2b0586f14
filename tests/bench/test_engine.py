"""The neighbours run the engine as the product does."""

from pathlib import Path

import pytest
import yaml

from bench.systems.engine import Engine

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    (tmp_path / "config.json").write_text("{}")
    return Engine(tmp_path)


def test_settings_are_those_of_the_product(engine: Engine) -> None:
    applications = yaml.safe_load(CONFIG.read_text())["applications"]
    budgie = next(one for one in applications if one["name"] == "budgie")
    product = budgie["args"]["engine"]
    assert engine.keywords() == {name: product[name] for name in engine.keywords()}
    assert set(product) - set(engine.keywords()) == {"enable_auto_tool_choice", "tool_call_parser"}
    variables = budgie["runtime_env"]["env_vars"]
    assert variables.items() <= engine.environment().items()


def test_arguments(engine: Engine) -> None:
    words = " ".join(engine.arguments())
    assert "--max-model-len 2048 --enforce-eager" in words
    assert "--enable-lora --max-loras 4" in words


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        Engine(tmp_path)
