"""LoRA, QLoRA and full fine-tuning: how the base model is loaded and what of it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cluster.jobs.spec import Method, TrainingPlan
from train.faults import Unworkable

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

CHECKPOINTED_ABOVE = 500_000_000
"""Parameters from which activations are recomputed instead of kept."""


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The base model's tokenizer, with a padding token."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        source, trust_remote_code=False
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(source: str, method: Method, dtype: torch.dtype) -> PreTrainedModel:
    """The base model's weights: safetensors only, no code from its folder.

    Under ZeRO-3 the trainer's arguments must exist first, so that the weights are sharded as they
    are read.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    if method is Method.QLORA:
        options["quantization_config"] = quantization(dtype)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(source, **options)
    model.config.use_cache = False
    return model


def quantization(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with nested constants; sums in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def adapter_config(
    plan: TrainingPlan, model: PreTrainedModel, limits: Mapping[str, Any]
) -> LoraConfig | None:
    """What PEFT adds to `model`; None trains the model itself.

    `limits` are the serving engine's: `max_rank` and `target_modules`.
    """
    if plan.method is Method.FULL:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=targets(plan, linear_layers(model), limits),
        bias="none",
        task_type="CAUSAL_LM",
    )


def targets(plan: TrainingPlan, layers: Iterable[str], limits: Mapping[str, Any]) -> list[str]:
    """The names of the layers that get an adapter, sorted.

    `all-linear` is every linear layer of the model that the engine can serve an adapter of.
    Raises Unworkable for a rank or a layer that could not be served.
    """
    most = limits.get("max_rank")
    if most is not None and plan.rank > most:
        raise Unworkable(
            "invalid_hyperparameters",
            f"rank is {plan.rank}, and the engine that serves the base model takes at most {most}.",
            param="hyperparameters.rank",
        )
    there = set(layers)
    served = there & set(limits.get("target_modules") or there)
    chosen = served if plan.target_modules == "all-linear" else set(plan.target_modules)
    if not chosen or not chosen <= served:
        raise Unworkable(
            "invalid_hyperparameters",
            f"target_modules {sorted(chosen - served)} can not be trained and served on this base "
            f"model; allowed: {', '.join(sorted(served)) or 'none'}.",
            param="hyperparameters.target_modules",
        )
    return sorted(chosen)


def linear_layers(model: PreTrainedModel) -> set[str]:
    """The last part of the name of every linear layer, without the output layer."""
    from torch.nn import Linear

    output = model.get_output_embeddings()
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module is not output
    }
