"""One product for all tests of this folder: starting it costs most of their time."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product.product import PATIENCE, Product, wait_for
from tests.train.facts import FACTS, write_facts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    running = os.environ.get("LORIKEET_TEST_HOME")
    if running is not None:  # one that a developer has started: left as it is
        url = json.loads((Path(running) / "run" / "product.json").read_text())["url"]
        yield Product(Path(running), int(url.rsplit(":", 1)[1]))
        return
    home = Path(tempfile.mkdtemp(prefix="lorikeet-test-"))
    made = Product(home, free_port())
    made.up()
    yield made
    made.down()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _ready(product: Product) -> None:
    """Each test finds a product that has recovered from the one before."""
    wait_for(product.is_ready, "readiness", PATIENCE)


@pytest.fixture(scope="session")
def facts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    write_facts(path)
    return path


@pytest.fixture(scope="session")
def facts() -> tuple[tuple[str, str], ...]:
    return FACTS
