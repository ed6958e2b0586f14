"""The trained weights as a folder that others load: safetensors only, whole, named by the base.

Writing is two steps, since under ZeRO-3 each worker holds a part: every worker gathers, then rank 0
writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.catalog.peft_files import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import Trainer

State = dict[str, "torch.Tensor"]
"""Whole tensors on the CPU by name; empty on the workers that do not write."""


def gather(trainer: Trainer) -> State:
    """The weights to export: an adapter's, or the whole model's. Every worker calls it."""
    if not _is_adapter(trainer):
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        return _on_cpu(state) if trainer.args.process_index == 0 else {}
    import deepspeed
    from peft import get_peft_model_state_dict

    model = trainer.model
    parts = [p for p in model.parameters() if p.requires_grad and hasattr(p, "ds_id")]
    # Gathers nothing, and waits for nobody, where the parameters are not partitioned.
    with deepspeed.zero.GatheredParameters(parts, enabled=bool(parts)):
        if trainer.args.process_index != 0:
            return {}
        return _on_cpu(get_peft_model_state_dict(model))


def write(folder: Path, trainer: Trainer, state: State, base_model: str) -> None:
    """Write what `gather` gave; only rank 0 calls it."""
    folder.mkdir(parents=True, exist_ok=True)
    if _is_adapter(trainer):
        write_adapter(folder, trainer.model, state, base_model)
        return
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=state)
    trainer.processing_class.save_pretrained(folder)


def write_adapter(folder: Path, model: PeftModel, state: State, base_model: str) -> None:
    """An adapter in PEFT's layout. The same weights give the same bytes."""
    from safetensors.torch import save_file

    ordered = {name: state[name] for name in sorted(state)}
    save_file(ordered, folder / WEIGHTS, metadata={"format": "pt"})
    config = _plain(model.peft_config["default"].to_dict())
    # The name that the catalogue knows, not where the weights lay on the training machine.
    config |= {"base_model_name_or_path": base_model, "inference_mode": True}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _plain(value: Any) -> Any:
    """JSON's types, with the members of sets in an order."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _on_cpu(state: State) -> State:
    return {name: part.detach().cpu().contiguous() for name, part in state.items()}


def _is_adapter(trainer: Trainer) -> bool:
    return hasattr(trainer.model, "peft_config")
