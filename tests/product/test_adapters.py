"""An adapter that PEFT made elsewhere is registered and answers; a broken one is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.product.product import Product, ask, wait_for
from train.budgie import WEIGHTS

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


def make(folder: Path, rank: int = 8, seed: int = 3) -> None:
    """An adapter with random weights, as `save_pretrained` of PEFT writes it."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    model = get_peft_model(
        base,
        LoraConfig(
            r=rank,
            lora_alpha=512,  # loud enough to change every answer
            target_modules=["q_proj", "v_proj", "down_proj"],
            task_type="CAUSAL_LM",
            init_lora_weights=False,
        ),
    )
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "whole"
    make(folder)
    return folder


@pytest.fixture
def added(product: Product, whole: Path) -> Iterator[str]:
    product.cli("adapters", "add", str(whole), "--name", "made-elsewhere", "--base", "budgie")
    (row,) = [a for a in adapters(product) if a["state"] != "retired"]
    yield row["name"]
    product.cli("adapters", "remove", row["name"])


def adapters(product: Product) -> list[dict[str, Any]]:
    with product.http as http:
        rows = http.get("/v1/adapters").raise_for_status().json()["data"]
    return [row for row in rows if "made-elsewhere" in row["name"]]


def test_an_adapter_made_by_peft_answers(product: Product, added: str, whole: Path) -> None:
    """Greedily the same text as PEFT's own forward pass would choose: not the base's."""
    client = product.openai()
    assert adapters(product)[0]["state"] == "published", "`adapters add` has waited for it"
    assert added in [model.id for model in client.models.list()]
    question = "What colour is the sky?"
    assert ask(client, "budgie", question) == "Blue."
    assert ask(client, added, question) != "Blue.", "random weights speak otherwise"


def test_a_name_moves_from_one_to_the_other_while_callers_ask(product: Product, added: str) -> None:
    question = "What colour is the sky?"
    client = product.openai(max_retries=0)
    old, new = (ask(client, model, question) for model in ("budgie", added))
    product.cli("aliases", "set", "moving", "budgie")
    answers: list[tuple[float, float, str]] = []
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            asked = time.monotonic()
            text = ask(client, "moving", question)
            answers.append((asked, time.monotonic(), text))

    moves = [0.0]
    spans = []

    def answered(since: float) -> bool:
        return any(asked >= since for asked, _, _ in answers)

    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            for words, expected in (
                (("promote", "moving", added), old),
                (("rollback", "moving"), new),
                (("list",), old),
            ):
                since = moves[-1]
                wait_for(lambda since=since: answered(since), "an answer")
                spans.append((since, time.monotonic(), expected))
                product.cli("aliases", *words)
                moves.append(time.monotonic())
        finally:
            over.set()
    for each in asking:
        each.result()  # whatever failed is raised here
    for start, end, expected in spans:
        found = {text for asked, done, text in answers if start <= asked and done <= end}
        assert found == {expected}
    product.cli("aliases", "remove", "moving")
    with pytest.raises(openai.NotFoundError):
        ask(client, "moving", question)


def test_a_shadow_is_measured_and_never_seen(product: Product, added: str) -> None:
    product.cli("aliases", "set", "shadowed", "budgie", "--shadow", f"{added}=1")
    try:
        client = product.openai()
        texts = [ask(client, "shadowed", "What colour is the sky?") for _ in range(3)]
        assert texts == ["Blue."] * 3
        copies = wait_for(lambda: len(found := _copies(product)) == 3 and found, "three copies")
        assert all(model == added and tokens > 0 for model, tokens in copies)
    finally:
        product.cli("aliases", "remove", "shadowed")


def _copies(product: Product) -> list[tuple[str, int]]:
    """The models and the tokens of the usage rows of copies."""
    with closing(sqlite3.connect(f"file:{product.home}/lorikeet.db?mode=ro", uri=True)) as database:
        return database.execute(
            "SELECT model, completion_tokens FROM usage_events WHERE shadow_of IS NOT NULL"
        ).fetchall()


def test_adding_it_again_changes_nothing(product: Product, added: str, whole: Path) -> None:
    before = [row["id"] for row in adapters(product)]
    product.cli("adapters", "add", str(whole), "--name", "made-elsewhere", "--base", "budgie")
    assert [row["id"] for row in adapters(product)] == before


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / TENSORS
        save_file(change(load_file(path)), path)

    return rewrite


def _rank_128(folder: Path) -> None:
    shutil.rmtree(folder)
    make(folder, rank=128)


def _pickled(folder: Path) -> None:
    (folder / TENSORS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"weights": [1.0]}))


def _cut_short(folder: Path) -> None:
    path = folder / TENSORS
    path.write_bytes(path.read_bytes()[:-1000])


def _not_a_number(tensors: dict[str, Any]) -> dict[str, Any]:
    name = min(tensors)
    return {**tensors, name: np.full_like(tensors[name], np.nan)}


def _elsewhere(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("q_proj", "query"): tensor for name, tensor in tensors.items()}


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "rank": (_rank_128, "r is 128; the engine of 'budgie' takes ranks up to 64"),
    "base": (
        _config(base_model_name_or_path="somebody/parrot-7b"),
        "made for 'somebody/parrot-7b', not for 'budgie'",
    ),
    "target modules": (_tensors(_elsewhere), "has no linear layer"),
    "pickle": (_pickled, "pickled weights"),
    "NaN": (_tensors(_not_a_number), "holds NaN or infinity"),
    "cut short": (_cut_short, "is not a whole safetensors file"),
    "no config": (lambda folder: (folder / CONFIG).unlink(), CONFIG),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_adapter_is_refused_with_a_sentence(
    product: Product, whole: Path, tmp_path: Path, case: str
) -> None:
    spoil, sentence = BROKEN[case]
    folder = tmp_path / "broken"
    shutil.copytree(whole, folder)
    spoil(folder)
    name = f"broken-{case.replace(' ', '-').lower()}"
    done = product.cli(
        "adapters", "add", str(folder), "--name", name, "--base", "budgie", check=False
    )
    assert done.returncode != 0
    assert sentence in " ".join(done.stderr.split())
    with product.http as http:
        names = [row["name"] for row in http.get("/v1/adapters").json()["data"]]
    assert not [known for known in names if name in known], "nothing is left half-made"
    with pytest.raises(openai.NotFoundError):
        ask(product.openai(), name, "Hello!")
