"""The configuration that users see is one that Serve takes, and names code that exists."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest
import yaml

from tests.markdown import Page

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


ARGUMENTS = {
    "deployments.supervisor:app": "deployments.supervisor:SupervisorArgs",
    "deployments.llm:app": "deployments.llm:LLMArgs",
    "deployments.embedding:app": "deployments.embedding:EmbedderArgs",
    "deployments.reranking:app": "deployments.reranking:RerankerArgs",
    "deployments.sequence_classifier:app": (
        "deployments.sequence_classifier:SequenceClassifierArgs"
    ),
    "deployments.router.app:app": "deployments.router.app:RouterArgs",
}


def arguments(text: str) -> list[tuple[str, dict[str, object]]]:
    """The import path and the args of each application in a piece of YAML."""
    document = yaml.safe_load(text)
    applications = document["applications"] if isinstance(document, dict) else document
    return [(a["import_path"], a.get("args", {})) for a in applications]


def read_arguments(import_path: str, given: dict[str, object]) -> object:
    """As the deployment reads them. Raises ConfigurationError for what it does not take."""
    module, _, name = ARGUMENTS[import_path].partition(":")
    return getattr(importlib.import_module(module), name).read(given)


@pytest.mark.parametrize(
    "text",
    [
        block
        for page in sorted((ROOT / "docs").glob("*.md"))
        for block in Page(page).blocks("yaml")
        if "import_path" in block
    ],
)
def test_the_examples_of_the_docs_are_taken(text: str) -> None:
    for import_path, args in arguments(text):
        given = read_arguments(import_path, args)
        assert given.model_dump(include=set(args)).keys() == args.keys()


def test_the_arguments_of_every_application_are_taken() -> None:
    given = arguments((ROOT / "serve_config.yaml").read_text())
    assert len(given) == 4
    for import_path, args in given:
        assert read_arguments(import_path, args).model_dump(include=set(args)).keys() == args.keys()
