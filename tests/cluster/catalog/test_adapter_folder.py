"""Each way in which an adapter can't be served is refused with its own sentence."""

from __future__ import annotations

import math
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from cluster.catalog import module_rules
from cluster.catalog.adapter_folder import CONFIG, WEIGHTS, inspect
from cluster.catalog.tensors import Unreadable, tensors
from cluster.errors import InvalidRequest
from tests.cluster.catalog.conftest import BASE, AdapterMaker

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def _q(rank: int, first: float = 0.5, second: float = 0.5) -> dict[str, object]:
    """Weights of one layer, all of whose numbers are `first` or `second`."""
    return {
        f"{Q}.lora_A.weight": np.full((rank, 8), first, np.float32),
        f"{Q}.lora_B.weight": np.full((8, rank), second, np.float32),
    }


def test_a_good_adapter_is_taken(make_adapter: AdapterMaker) -> None:
    found = inspect(make_adapter(), BASE)
    assert (found.rank, found.target_modules) == (4, ("q_proj", "up_proj"))
    assert found.bytes > 0


def test_single_modules_may_have_a_rank_and_an_alpha(make_adapter: AdapterMaker) -> None:
    config = {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 0.5}}
    assert inspect(make_adapter(config=config, tensors=_q(8)), BASE).rank == 8


@pytest.mark.parametrize(
    ("config", "code", "word"),
    [
        ({"r": 32}, "adapter_rank_too_high", "up to 16"),
        ({"r": 0}, "invalid_adapter", "at least 1"),
        ({"r": "8"}, "invalid_adapter", "'8'"),
        ({"r": True}, "invalid_adapter", "True"),
        ({"rank_pattern": {"q_proj": 99}}, "adapter_rank_too_high", "99"),
        ({"peft_type": "IA3"}, "invalid_adapter", "IA3"),
        ({"use_dora": True}, "invalid_adapter", "use_dora"),
        ({"rank_pattern": [1]}, "invalid_adapter", "rank_pattern"),
        ({"rank_pattern": {"q_proj": 0}}, "invalid_adapter", r"rank_pattern\['q_proj'\] is 0"),
        ({"lora_alpha": "x"}, "invalid_adapter", "lora_alpha"),
        ({"lora_alpha": math.inf}, "invalid_adapter", "lora_alpha is inf"),
        ({"lora_alpha": math.nan}, "invalid_adapter", "lora_alpha is nan"),
        ({"lora_alpha": 10**400}, "invalid_adapter", "lora_alpha is 1000"),
        ({"lora_alpha": 0}, "invalid_adapter", "lora_alpha is 0"),
        ({"alpha_pattern": {"q_proj": math.inf}}, "invalid_adapter", r"\['q_proj'\] is inf"),
        ({"alpha_pattern": {"q_proj": -1}}, "invalid_adapter", r"alpha_pattern\['q_proj'\] is -1"),
        ({"alpha_pattern": [8]}, "invalid_adapter", "alpha_pattern"),
        ({"target_modules": None}, "invalid_adapter", "target_modules"),
        ({"target_modules": ["q_proj", 1]}, "invalid_adapter", "target_modules"),
        ({"target_modules": ["zz"]}, "adapter_target_modules", "target_modules"),
        ({"target_modules": ["q_proj", "proj"]}, "adapter_target_modules", "'model.*up_proj'"),
        ({"target_modules": "q_proj|up_proj"}, "adapter_target_modules", "is none of"),
        ({"target_modules": "("}, "invalid_adapter", "no regular expression"),
        ({"target_modules": "." * 10_001}, "invalid_adapter", "longer than"),
        ({"r": 8}, "adapter_shape_mismatch", "r is 8 by adapter_config.json"),
        ({"rank_pattern": {"q_proj": 2}}, "adapter_shape_mismatch", "r is 2 by"),
        ({"rank_pattern": {"(": 2}}, "invalid_adapter", "no regular expression"),
        ({"lora_alpha": 1e300}, "adapter_overflow", r"scaling .* size 2.5e\+299; at most 1e\+06"),
        ({"alpha_pattern": {".*_proj": 1e300}}, "adapter_overflow", "scaling"),
        ({"alpha_pattern": {"model)|(zz": 1e300}}, "adapter_overflow", "scaling"),
        ({"lora_alpha": 3e6, "use_rslora": True}, "adapter_overflow", r"1.5e\+06"),
        ({"lora_alpha": 3e6}, "adapter_overflow", "update"),
        ({"modules_to_save": ["lm_head"]}, "invalid_adapter", "modules_to_save"),
        ({"bias": "all"}, "invalid_adapter", "'all'"),
        ({"base_model_name_or_path": "other/model"}, "adapter_base_mismatch", "other/model"),
    ],
)
def test_a_wrong_config_is_refused(
    make_adapter: AdapterMaker, config: dict[str, object], code: str, word: str
) -> None:
    with pytest.raises(InvalidRequest, match=word) as refused:
        inspect(make_adapter(config=config), BASE)
    assert refused.value.code == code


def test_a_path_as_base_is_no_name(make_adapter: AdapterMaker) -> None:
    config = {"base_model_name_or_path": "/somewhere/else/llama"}
    assert inspect(make_adapter(config=config), BASE).rank == 4


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({f"{Q}.lora_A.weight": np.full((4, 8), np.nan, np.float32)}, "adapter_not_finite"),
        ({f"{Q}.lora_A.weight": np.full((4, 8), -np.inf, np.float16)}, "adapter_not_finite"),
        ({f"{Q}.lora_A.weight": np.zeros((4, 9), np.float32)}, "adapter_shape_mismatch"),
        ({f"{Q}.lora_B.weight": np.zeros((8, 5), np.float32)}, "adapter_shape_mismatch"),
        ({f"{Q}.lora_B.weight": np.zeros((), np.float32)}, "adapter_shape_mismatch"),
        ({f"{Q}.lora_A.weight": np.zeros((4, 8), np.int32)}, "invalid_adapter"),
        ({f"{Q}.lora_A.weight\n": np.zeros((4, 8), np.float32)}, "invalid_adapter"),
        (
            {
                "base_model.model.model.layers.9.q_proj.lora_A.weight": np.zeros((4, 8), "f4"),
                "base_model.model.model.layers.9.q_proj.lora_B.weight": np.zeros((8, 4), "f4"),
            },
            "adapter_target_modules",
        ),
        ({"base_model.model.lm_head.weight": np.zeros((4, 8), np.float32)}, "invalid_adapter"),
    ],
)
def test_wrong_weights_are_refused(
    make_adapter: AdapterMaker, tensors: dict[str, object], code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        inspect(make_adapter(tensors=tensors), BASE)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [(1e30, 1e30, "lora_A"), (1e30, 0, "lora_A"), (0, 1e30, "lora_B"), (1e3, 1e3, "update")],
)
def test_weights_that_overflow_are_refused(
    make_adapter: AdapterMaker, first: float, second: float, word: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"{word} .*of '{Q[17:]}' has") as refused:
        inspect(make_adapter(tensors=_q(4, first, second)), BASE)
    assert (refused.value.code, refused.value.param) == ("adapter_overflow", "files")


def test_a_strong_adapter_is_taken(make_adapter: AdapterMaker) -> None:
    """Norms of 100 and 10."""
    assert inspect(make_adapter(tensors=_q(4, 100 / 32**0.5, 10 / 32**0.5)), BASE).rank == 4


@pytest.mark.parametrize(
    "targets",
    [
        "all-linear",
        r".*\.(q_proj|up_proj)",
        ["self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"],
    ],
)
def test_target_modules_are_read_as_peft_does(make_adapter: AdapterMaker, targets: object) -> None:
    found = inspect(make_adapter(config={"target_modules": targets}), BASE)
    assert "q_proj" in found.target_modules


def test_the_first_pattern_that_matches_holds(make_adapter: AdapterMaker) -> None:
    ranks = {"proj": 2, r"layers\.\d+\.self_attn.q_proj": 8, "q_proj": 2}
    found = inspect(make_adapter(config={"rank_pattern": ranks}, tensors=_q(8)), BASE)
    assert found.rank == 8


def test_an_endless_pattern_is_stopped(
    make_adapter: AdapterMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_rules, "PATTERN_SECONDS", 0.2)
    folder = make_adapter(config={"rank_pattern": {"(.|..|...)*(?<!j)": 4}})
    with pytest.raises(InvalidRequest, match="takes too long"):
        inspect(folder, BASE)


def test_a_base_without_adapters_takes_none(make_adapter: AdapterMaker) -> None:
    with pytest.raises(InvalidRequest, match="'budgie' takes no adapters"):
        inspect(make_adapter(), replace(BASE, max_rank=0, modules={}))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_tensor_s_norm_is_known(tmp_path: Path, dtype: str) -> None:
    import torch  # numpy has no bfloat16
    from safetensors.torch import save_file

    numbers = torch.linspace(-3, 4, 2**19 + 3).to(getattr(torch, dtype))
    save_file({"one": numbers}, tmp_path / WEIGHTS)
    (one,) = tensors(tmp_path / WEIGHTS)
    assert one.norm() == pytest.approx(float(numbers.double().norm()))


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def _cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_pickled, "unsafe_weights"),
        (_cut, "invalid_adapter"),
        (lambda folder: (folder / WEIGHTS).unlink(), "adapter_incomplete"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "invalid_adapter"),
        (lambda folder: (folder / CONFIG).unlink(), "adapter_incomplete"),
        (lambda folder: (folder / CONFIG).write_text("{"), "invalid_adapter"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "invalid_adapter"),
        (lambda folder: (folder / CONFIG).write_text("9" * 5000), "invalid_adapter"),
        (lambda folder: (folder / CONFIG).write_text("[" * 100_000), "invalid_adapter"),
        (lambda folder: (folder / CONFIG).write_bytes(b"\xff"), "invalid_adapter"),
    ],
)
def test_a_broken_folder_is_refused(
    make_adapter: AdapterMaker, spoil: Callable[[Path], object], code: str
) -> None:
    folder = make_adapter()
    spoil(folder)
    with pytest.raises(InvalidRequest) as refused:
        inspect(folder, BASE)
    assert refused.value.code == code


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(Unreadable):
            list(tensors(Path(file.name)))


def test_the_reader_reads_what_the_library_writes(make_adapter: AdapterMaker) -> None:
    path = make_adapter() / WEIGHTS
    written = load_file(path)
    read = {one.name: one for one in tensors(path)}
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert read[name].shape == array.shape
        assert read[name].data.tobytes() == array.tobytes()


def test_weights_are_never_whole_in_memory(make_adapter: AdapterMaker) -> None:
    large = replace(BASE, modules={"model.layers.0.self_attn.q_proj": (2_000_000, 8)})
    folder = make_adapter()
    ends = np.zeros((4, 8), np.float32), np.zeros((2_000_000, 4), np.float32)
    save_file(dict(zip((f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"), ends, strict=True)),
              folder / WEIGHTS)  # fmt: skip
    tracemalloc.start()
    try:
        assert inspect(folder, large).bytes > 32_000_000
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
