"""The shape of the model: a Llama of 5.3 million parameters."""

from typing import Final

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from train.budgie.tokenizer import CONTEXT

HIDDEN: Final = 256
LAYERS: Final = 6
HEADS: Final = 4
"""Of 64 dimensions each, a head size that vLLM's CPU attention supports."""
FEED_FORWARD: Final = 704
ROPE_THETA: Final = 500_000.0
"""Slow rotations in most dimensions, so that matching by content works at any distance."""


def configuration(tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> LlamaConfig:
    """The architecture for a vocabulary."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def create(tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> LlamaForCausalLM:
    """A model with random weights, which decodes greedily unless told otherwise."""
    model = LlamaForCausalLM(configuration(tokenizer, layers))
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def parameters(model: torch.nn.Module) -> int:
    """How many numbers the model has learned; the tied embedding counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
