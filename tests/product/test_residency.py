"""More adapters than an engine has places for: each answers when it is asked, as if it were there.

A second base model with two places runs beside the product's own for as long as these tests.
"""

from __future__ import annotations

import copy
import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from cluster.embedded.record import ProductRecord
from cluster.embedded.serve_api import ServeApi
from cluster.embedded.serve_config import at_address, default_config, read_config
from tests.product.product import Product, ask, wait_for
from tests.product.test_adapters import make

BASE = "finch"
PLACES = 2
NAMES = [f"resident-{number}" for number in range(4)]


@pytest.fixture(scope="module")
def finch(product: Product) -> Iterator[None]:
    record = ProductRecord.load(product.home)
    assert record is not None
    assert record.dashboard is not None
    assert record.ray_token_file is not None
    api = ServeApi(record.dashboard, Path(record.ray_token_file))
    before = at_address(read_config(default_config()), None, product.port)
    budgie = next(each for each in before["applications"] if each["name"] == "budgie")
    more = copy.deepcopy(budgie) | {"name": BASE}
    more["args"] |= {"name": BASE, "resident_adapters": PLACES}
    more["args"]["scale"]["resources"]["cpus"] = 0.1
    api.deploy({**before, "applications": [*before["applications"], more]}, 60)
    wait_for(lambda: replicas(product), "a replica of the second base model", 420)
    yield
    api.deploy(before, 60)
    wait_for(lambda: not replicas(product), "its end")
    api.close()


def say(client: openai.OpenAI, name: str) -> str:
    """Its own words, which random weights may end before the first one."""
    return ask(client, name, "What colour is the sky?", extra_body={"min_tokens": 16})


def replicas(product: Product) -> list[dict[str, Any]]:
    return [each for each in product.status()["replicas"] if each["model"] == BASE]


def held(product: Product) -> set[str]:
    (only,) = replicas(product)
    return {name.partition("@")[0] for name in only["adapters"]}


@pytest.fixture(scope="module")
def four(
    product: Product, finch: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Four published adapters, and what each says."""
    folder = tmp_path_factory.mktemp("residents")
    for seed, name in enumerate(NAMES):
        make(folder / name, seed=seed)
        product.cli("adapters", "add", str(folder / name), "--name", name, "--base", BASE)
    client = product.openai()
    answers = {name: say(client, name) for name in NAMES}
    yield answers
    for name in answers:  # but those that a test removed
        product.cli("adapters", "remove", name)


def test_all_answer_in_turn_and_no_more_are_held_than_have_places(
    product: Product, four: dict[str, str]
) -> None:
    assert len(set(four.values())) == len(NAMES), "each speaks its own way"
    client = product.openai()
    for name in itertools.chain(NAMES, reversed(NAMES), NAMES):
        assert say(client, name) == four[name]
        assert len(held(product)) <= PLACES
    with product.http as http:
        rows = http.get("/v1/adapters").raise_for_status().json()["data"]
    told = {row["name"]: row for row in rows if row["name"] in NAMES}
    assert {row["state"] for row in told.values()} == {"published"}
    assert sum(row["resident_on"] for row in told.values()) <= PLACES


def test_all_answer_at_once(product: Product, four: dict[str, str]) -> None:
    """More adapters in use than have places: they take turns, and nobody is turned away."""
    client = product.openai()
    over = threading.Event()
    most: list[int] = []

    def watch() -> None:
        while not over.wait(0.1):
            most.append(len(held(product)))

    names = NAMES * 6
    random.Random(1).shuffle(names)
    with ThreadPoolExecutor(9) as pool:
        watching = pool.submit(watch)
        try:
            answers = list(pool.map(lambda name: say(client, name), names))
        finally:
            over.set()
    watching.result()
    assert answers == [four[name] for name in names]
    assert most
    assert max(most) <= PLACES


def test_a_pinned_one_stays(product: Product, four: dict[str, str]) -> None:
    pinned, *others = NAMES
    assert "is pinned" in product.cli("adapters", "pin", pinned).stdout
    wait_for(lambda: pinned in held(product), "the pinned adapter to come")
    client = product.openai()
    for name in others * 2:
        assert say(client, name) == four[name]
        assert pinned in held(product)
    refused = product.cli("adapters", "pin", others[0], check=False)
    assert refused.returncode != 0
    assert "1 may be, which is half of the 2" in " ".join(refused.stderr.split())
    product.cli("adapters", "unpin", pinned)
    product.cli("adapters", "pin", others[0])
    product.cli("adapters", "unpin", others[0])


def test_a_removed_one_is_unknown_and_goes(product: Product, four: dict[str, str]) -> None:
    client = product.openai()
    name = NAMES[-1]
    assert say(client, name) == four[name]
    product.cli("adapters", "remove", name)
    with pytest.raises(openai.NotFoundError):
        say(client, name)
    wait_for(lambda: name not in held(product), "the removed adapter to go")
    del four[name]
