"""DeepSpeed's configuration, and how a global batch is cut into steps that fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal[0, 1, 2, 3]

MICRO_BATCH_TOKENS = 16_384
"""Padded tokens that one worker takes through the model at once."""


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """`workers` x `accumulation` x `micro` rows are one optimizer step."""

    workers: int
    accumulation: int
    micro: int

    @classmethod
    def of(cls, global_batch: int, workers: int, max_length: int) -> BatchShape:
        """The largest micro batch that divides a worker's share and fits MICRO_BATCH_TOKENS."""
        assert global_batch % workers == 0, f"{global_batch} rows do not divide by {workers}"
        share = global_batch // workers
        fitting = (n for n in range(share, 0, -1) if share % n == 0)
        micro = next((n for n in fitting if n * max_length <= MICRO_BATCH_TOKENS), 1)
        return cls(workers=workers, accumulation=share // micro, micro=micro)


def configuration(
    stage: Stage, shape: BatchShape, *, bf16: bool, offload: bool = False
) -> dict[str, Any] | None:
    """The `deepspeed` argument of the trainer; None is plain data parallel training.

    `offload` keeps optimizer states (and parameters, at stage 3) in the host's memory.
    """
    if stage == 0:
        return None
    zero: dict[str, Any] = {
        "stage": stage,
        # On CPU there is no second stream to overlap with; on GPU the gradients of an adapter are
        # too small to gain from it.
        "overlap_comm": False,
        "contiguous_gradients": True,
    }
    if stage == 3:
        # Without it a full fine-tune can not be written as one model.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": shape.micro,
        "gradient_accumulation_steps": shape.accumulation,
        "train_batch_size": shape.workers * shape.accumulation * shape.micro,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": bf16},
        # torch's AdamW; DeepSpeed's own would compile for a minute and gains nothing here.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }
