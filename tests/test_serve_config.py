"""The configuration that users see is one that Serve takes, and names code that exists."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config() -> dict[str, object]:
    found = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_serve_takes_it(config: dict[str, object]) -> None:
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(config)
    names = [application.name for application in schema.applications]
    assert len(names) == len(set(names))
    assert [a.name for a in schema.applications if a.route_prefix == "/"] == ["router"]


def test_it_listens_here_only(config: dict[str, object]) -> None:
    options = config["http_options"]
    assert isinstance(options, dict)
    assert options["host"] == "127.0.0.1"


def test_each_import_path_is_a_module_of_ours(config: dict[str, object]) -> None:
    applications = config["applications"]
    assert isinstance(applications, list)
    for application in applications:
        module, _, attribute = application["import_path"].partition(":")
        assert importlib.util.find_spec(module) is not None, application["import_path"]
        assert attribute
