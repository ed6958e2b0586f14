"""The model that is made for its size: the same every time, and its adapters fit it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from bench import random_model
from bench.random_model import BUDGIE, adapters, model, parameters, shapes

SMALL = {**random_model.CONFIG, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_model, "CONFIG", SMALL)


def test_it_has_about_eighty_million_parameters() -> None:
    assert parameters() == pytest.approx(80e6, rel=0.02)


def test_the_shapes_are_those_of_a_llama() -> None:
    config = json.loads((BUDGIE / "config.json").read_text())
    expected = dict(shapes(config))
    with safe_open(BUDGIE / "model.safetensors", framework="numpy") as weights:
        found = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    assert expected.keys() - found.keys() == {"lm_head.weight"}, "budgie's is tied"
    for name, shape in found.items():
        assert expected[name] == (tuple(shape) if len(shape) == 2 else (1, *shape)), name


@pytest.mark.usefixtures("small")
def test_it_is_made_once_and_always_the_same(tmp_path: Path) -> None:
    first, second = model(tmp_path / "a"), model(tmp_path / "b")
    content = (first / "model.safetensors").read_bytes()
    assert content == (second / "model.safetensors").read_bytes()
    assert {path.name for path in first.iterdir()} == {
        "model.safetensors", "config.json", *random_model.COPIED,
    }  # fmt: skip
    (first / "model.safetensors").write_bytes(b"kept")
    assert (model(tmp_path / "a") / "model.safetensors").read_bytes() == b"kept"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [random_model.NAME]


@pytest.mark.usefixtures("small")
def test_adapters_differ_and_fit_every_linear_layer(tmp_path: Path) -> None:
    base = model(tmp_path)
    folders = adapters(base, 2, tmp_path)
    assert [folder.name for folder in folders] == ["bench-1", "bench-2"]
    weights = [folder / "adapter_model.safetensors" for folder in folders]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    config = json.loads((folders[0] / "adapter_config.json").read_text())
    linear = {n: s for n, s in shapes(SMALL) if n.split(".")[-2] in config["target_modules"]}
    assert len(linear) == 2 * 7
    with safe_open(weights[0], framework="pt") as opened:
        assert len(opened.keys()) == 2 * len(linear)
        for name, (out, into) in linear.items():
            at = "base_model.model." + name.removesuffix(".weight")
            assert opened.get_slice(f"{at}.lora_A.weight").get_shape() == [config["r"], into]
            assert opened.get_slice(f"{at}.lora_B.weight").get_shape() == [out, config["r"]]
            assert opened.get_tensor(f"{at}.lora_B.weight").any(), "an adapter that does nothing"
