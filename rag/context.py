"""How much a model reads at once."""

from __future__ import annotations

from typing import Any

from torch import nn


def context_length(model: nn.Module, tokenizer: Any) -> int:
    """Tokens, the model's own marks among them, that an encoder takes."""
    # A tokenizer that knows no bound says 10 to the 30th.
    bounds = [int(tokenizer.model_max_length)]
    config: Any = model.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        bounds.append(positions - _unused(model, positions))
    return min(bounds)


def _unused(model: nn.Module, positions: int) -> int:
    """Positions that no token has: RoBERTa and its kin begin to count after the padding's."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == positions:
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
