"""A model of random weights, for its size only, and adapters for it: made once, by fixed seeds.

It has budgie's tokenizer and chat template. What it says makes no sense, but it costs what a model
of its size costs.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
BUDGIE = ROOT / "train/budgie/weights"
CACHE = ROOT / "bench/.models"
NAME = "random-80m"
RANK = 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 11,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
    "max_position_embeddings": 2048,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "vocab_size": 1024,
}


def parameters(config: dict[str, object] | None = None) -> int:
    """How many numbers the weights are."""
    return sum(out * into for _, (out, into) in shapes(config or CONFIG))


def shapes(config: dict[str, object]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The matrices of a Llama, by their names; a norm is a matrix of one row."""
    hidden, inner, vocabulary, layers = (
        int(str(config[name]))
        for name in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers")
    )
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name in TARGETS:
            block = "self_attn" if name in TARGETS[:4] else "mlp"
            out = inner if name in ("gate_proj", "up_proj") else hidden
            into = inner if name == "down_proj" else hidden
            yield f"{at}.{block}.{name}.weight", (out, into)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}.{norm}.weight", (1, hidden)
    yield "model.norm.weight", (1, hidden)
    yield "lm_head.weight", (vocabulary, hidden)


def model(cache: Path = CACHE) -> Path:
    """The folder of the model; made where it is not there yet."""
    folder = cache / NAME
    if not folder.is_dir():
        with _making(folder) as making:
            generator = torch.Generator().manual_seed(80)
            tensors = {name: _tensor(name, shape, generator) for name, shape in shapes(CONFIG)}
            save_file(tensors, making / "model.safetensors", metadata={"format": "pt"})
            (making / "config.json").write_text(json.dumps(CONFIG, indent=1))
            for name in COPIED:
                shutil.copy(BUDGIE / name, making / name)
    return folder


def adapters(base: Path, count: int, cache: Path = CACHE) -> list[Path]:
    """`count` folders of LoRA adapters for the model in `base`, each with its own seed."""
    config = json.loads((base / "config.json").read_text())
    matrices = [one for one in shapes(config) if one[0].split(".")[-2] in TARGETS]
    folders = []
    for number in range(1, count + 1):
        shape = f"{config['hidden_size']}x{config['num_hidden_layers']}"
        folder = cache / f"adapters-{shape}" / f"bench-{number}"
        folders.append(folder)
        if folder.is_dir():
            continue
        with _making(folder) as making:
            generator = torch.Generator().manual_seed(number)
            tensors = {}
            for name, (out, into) in matrices:
                at = "base_model.model." + name.removesuffix(".weight")
                tensors[f"{at}.lora_A.weight"] = _normal((RANK, into), into**-0.5, generator)
                tensors[f"{at}.lora_B.weight"] = _normal((out, RANK), 0.01, generator)
            save_file(tensors, making / "adapter_model.safetensors", metadata={"format": "pt"})
            (making / "adapter_config.json").write_text(
                json.dumps(
                    {
                        "peft_type": "LORA",
                        "task_type": "CAUSAL_LM",
                        "base_model_name_or_path": str(base),
                        "r": RANK,
                        "lora_alpha": RANK,
                        "lora_dropout": 0.0,
                        "bias": "none",
                        "target_modules": list(TARGETS),
                    },
                    indent=1,
                )
            )
    return folders


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder that takes its name once it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
        inside = Path(made) / folder.name
        inside.mkdir()
        yield inside
        inside.rename(folder)


def _tensor(name: str, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(shape[1], dtype=torch.bfloat16)
    # Rows of unit length on average keep the sizes of activations as in a trained model.
    return _normal(shape, 1.0 if "embed_tokens" in name else shape[1] ** -0.5, generator)


def _normal(shape: tuple[int, int], scale: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(shape, generator=generator) * scale).to(torch.bfloat16)
