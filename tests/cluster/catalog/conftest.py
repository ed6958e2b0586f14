"""A base model and adapters that fit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cluster.catalog.adapter_folder import CONFIG, WEIGHTS
from cluster.catalog.base_models import BaseModel, ModelKind

BASE = BaseModel(
    name="budgie",
    kind=ModelKind.LLM,
    application="budgie",
    source="/models/budgie",
    context_length=2048,
    max_rank=16,
    hidden_size=8,
    modules={"model.layers.0.self_attn.q_proj": (8, 8), "model.layers.0.mlp.up_proj": (24, 8)},
)


class AdapterMaker:
    """Writes adapters in PEFT's layout; tests change one thing at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def __call__(
        self,
        *,
        rank: int = 4,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        tensors: dict[str, Any] | None = None,
    ) -> Path:
        self._made += 1
        folder = self._folder / f"adapter{self._made}"
        folder.mkdir()
        document = {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": 2 * rank,
            "target_modules": ["q_proj", "up_proj"],
            "base_model_name_or_path": "budgie",
            **(config or {}),
        }
        (folder / CONFIG).write_text(json.dumps(document))
        random = np.random.default_rng(seed)
        weights = {}
        for module, (out, into) in (BASE.modules or {}).items():
            prefix = f"base_model.model.{module}"
            weights[f"{prefix}.lora_A.weight"] = random.random((rank, into), np.float32)
            weights[f"{prefix}.lora_B.weight"] = random.random((out, rank), np.float32)
        save_file({**weights, **(tensors or {})}, folder / WEIGHTS)
        return folder


@pytest.fixture
def make_adapter(tmp_path: Path) -> AdapterMaker:
    return AdapterMaker(tmp_path)
