"""What README.md tells its reader to type exists, as far as that shows without the product."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from openai import OpenAI
from typer.main import get_command

from cluster.cli.app import app as lorikeet
from cluster.datasets.validation import validate
from cluster.settings import Settings
from tests.markdown import Page
from tests.test_serve_config import arguments, read_arguments

ROOT = Path(__file__).parents[1]
PAGE = Page(ROOT / "README.md")
MAKEFILE = (ROOT / "Makefile").read_text()

EXAMPLES = {"DIR": "home", "N": "8000"}
"""Words that stand for the reader's own."""
THE_READERS = {"my.yaml", *PAGE.heredocs()}
OUR_PROGRAMS = ("make", "lorikeet", "python", "serve", "pytest", "ruff")


def commands() -> list[list[str]]:
    """The commands of the blocks, and those in the prose."""
    spans = (shlex.split(span) for span in PAGE.spans() if span.count('"') % 2 == 0)
    typed = (words for words in spans if len(words) > 1 and _program(words) in OUR_PROGRAMS)
    return [*PAGE.commands(), *typed]


def _program(words: list[str]) -> str:
    return next(word for word in words if not _assignment(word) or word == words[-1])


def _assignment(word: str) -> re.Match[str] | None:
    return re.match(r"([A-Z_]+)=(.*)", word, re.DOTALL)


def of(program: str) -> list[list[str]]:
    return [words for words in commands() if _program(words) == program]


def parse(words: list[str]) -> str:
    """Parse the words after `lorikeet` as the command line does, and run nothing.

    Returns the name of the command that took them.
    """
    command: Any = get_command(lorikeet)
    rest = [EXAMPLES.get(word, word) for word in words]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("lorikeet", rest)
    return str(command.name)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reader stands: with the files that the page has named until then."""
    for name in THE_READERS:
        (tmp_path / name).write_text("")
    (tmp_path / "my-adapter").mkdir()
    monkeypatch.chdir(tmp_path)


def test_the_page_was_read() -> None:
    assert len(of("lorikeet")) >= 6
    assert len(of("make")) >= 3
    assert len(PAGE.blocks("python")) == len(PAGE.blocks("yaml")) == 1
    assert len(list(PAGE.tree())) > 20


@pytest.mark.parametrize("words", of("make"), ids=shlex.join)
def test_make_has_the_target(words: list[str], workplace: None) -> None:
    for word in (word for word in words if word != "make"):
        if variable := _assignment(word):
            name, value = variable.groups()
            assert f"$({name})" in MAKEFILE
            if name == "ARGS":
                parse([words[1], *shlex.split(value)])
        else:
            assert re.search(rf"^{word}:", MAKEFILE, re.MULTILINE), f"no target {word}"


@pytest.mark.parametrize(
    "words", [words for words in of("lorikeet") if "," not in words[1]], ids=shlex.join
)
def test_lorikeet_takes_the_words(words: list[str], workplace: None) -> None:
    assert parse(words[1:]) in words


def test_words_that_lorikeet_does_not_take_are_found(workplace: None) -> None:
    parse(["train", "submit", *PAGE.heredocs(), "--model", "budgie"])
    for wrong in (
        ["train", "submit", *PAGE.heredocs(), "--modell", "budgie"],
        ["train", "submit"],
        ["up", "--port", "eighty"],
        ["status", "everything"],
    ):
        with pytest.raises(typer.TyperException):
            parse(wrong)
            pytest.fail(f"{wrong} was taken")


def test_the_list_of_commands_is_complete() -> None:
    (listed,) = [words[1:] for words in of("lorikeet") if "," in words[1]]
    known = get_command(lorikeet).commands  # type: ignore[attr-defined]
    assert sorted(word.rstrip(",") for word in listed) == sorted(known)


def test_modules_that_are_run_exist() -> None:
    run = [words[words.index("-m") + 1] for words in of("python") if "-m" in words]
    run += re.findall(r"\$\(BIN\)/python -m ([\w.]+)", MAKEFILE)
    assert run
    assert [module for module in run if importlib.util.find_spec(module) is None] == []


def test_files_given_to_serve_are_there() -> None:
    assert {words[1] for words in of("serve")} == {"deploy"}
    given = [name for words in of("serve") for name in words[2:]]
    assert "serve_config.yaml" in given
    assert [name for name in given if not (ROOT / name).exists() and name not in THE_READERS] == []


def _paths() -> Iterator[str]:
    yield from PAGE.links()
    for word in (word for span in PAGE.spans() for word in span.split()):
        # Neither the reader's own (in a home, from the root) nor a path of the API.
        if re.fullmatch(r"[a-z][\w.-]*(/[\w.-]+)*/?", word) and (
            "/" in word or re.search(r"\.(yaml|py|md|txt|toml|sh|jsonl)$", word)
        ):
            yield word


def test_paths_are_those_of_this_repository() -> None:
    paths = set(_paths()) - THE_READERS
    assert {"serve_config.yaml", "cluster/locks/gpu.txt", "docs/decisions.md"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_tree_is_that_of_this_repository() -> None:
    wrong = [
        entry.path
        for entry in PAGE.tree()
        if not ((ROOT / entry.path).is_dir() if entry.folder else (ROOT / entry.path).is_file())
    ]
    assert wrong == []


def test_each_variable_is_a_setting() -> None:
    named = set(re.findall(r"LORIKEET_([A-Z_]+[A-Z])", " ".join(PAGE.spans())))
    assert "DATABASE_URL" in named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_each_path_of_the_api_is_served() -> None:
    from deployments.router.app import Ingress
    from deployments.router.endpoint import ENDPOINTS

    served = {(method, path) for path in ENDPOINTS for method in ("POST", "")}
    app = Ingress().management
    for path, operations in app.openapi()["paths"].items():
        named = re.sub(r"\{.*?\}", "{id}", path)
        served |= {("", named), *((method.upper(), named) for method in operations)}
    served |= {("", app.docs_url), ("", app.openapi_url)}
    told = [
        tuple(span.rpartition(" ")[::2])
        for path, _ in PAGE.table("| Path |")
        for span in re.findall(r"`([^`]*/[^`]*)`", path)
    ]
    assert len(told) > 10
    assert [where for where in told if where not in served] == []


@pytest.mark.parametrize("content", PAGE.heredocs().values(), ids=PAGE.heredocs())
def test_training_data_is_valid(content: str) -> None:
    report = validate([content.encode()])
    assert report.problems == ()
    assert report.rows == len(content.splitlines())


@pytest.mark.parametrize("text", PAGE.blocks("yaml"))
def test_yaml_is_what_serve_and_the_deployment_take(text: str) -> None:
    from ray.serve.schema import ServeApplicationSchema

    for application in yaml.safe_load(text):
        assert set(application) <= set(ServeApplicationSchema.model_fields)
        ServeApplicationSchema.model_validate(application)
    given = arguments(text)
    assert given, "the page shows how to add a model"
    for import_path, args in given:
        read_arguments(import_path, args)


@pytest.mark.parametrize("text", PAGE.blocks("python"))
def test_python_imports_and_calls_what_there_is(text: str) -> None:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func).startswith("client.")]
    assert len(ours) >= 5
    client = OpenAI(api_key="none")
    for call in ours:
        called: Any = client
        for name in ast.unparse(call.func).split(".")[1:]:
            called = getattr(called, name)
        keywords = {keyword.arg or "": None for keyword in call.keywords}
        inspect.signature(called).bind(*call.args, **keywords)
