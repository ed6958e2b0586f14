"""A base model that is given by its hub's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.catalog.adapter_folder import inspect
from deployments.llm import LLMArgs, base_model
from deployments.source import resolve
from tests.cluster.catalog.conftest import BASE, AdapterMaker

NAME = "meta-llama/Llama-3.1-8B-Instruct"
LOADS = """
import sys
from cluster.datasets.tokens import load_tokenizer as counter
from train.methods import load_model, load_tokenizer
from cluster.jobs.spec import Method
import torch
source = sys.argv[1]
assert counter(source)
assert load_tokenizer(source).pad_token_id is not None
print(load_model(source, Method.LORA, torch.float32).num_parameters())
"""


def test_adapters_made_for_that_name_are_taken(tmp_path: Path) -> None:
    engine = SimpleNamespace(
        model=tmp_path / "models--meta-llama--Llama-3.1-8B-Instruct" / "snapshots" / "0e9e39f2",
        context_length=BASE.context_length,
        max_rank=BASE.max_rank,
        hidden_size=BASE.hidden_size,
        adapter_places=8,
        vocabulary=BASE.vocabulary,
        linear_layers=lambda: BASE.modules,
    )
    args = LLMArgs(name="llama", source=NAME)
    base = base_model(args, "llama", resolve(args.source), engine)  # type: ignore[arg-type]
    assert (base.source, base.places) == (NAME, 8)
    folder = AdapterMaker(tmp_path)(config={"base_model_name_or_path": NAME})
    assert inspect(folder, base).rank == 4


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_training_and_validation_load_by_that_name(tmp_path: Path) -> None:
    repository = tmp_path / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(resolve("package:train.budgie/weights"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    cache = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, NAME],
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 1_000_000
