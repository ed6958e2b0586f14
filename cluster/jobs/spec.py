"""What a fine-tune is asked to do, and the numbers it came to."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]


class Method(StrEnum):
    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSpec(_Strict):
    """As the caller gave it; `auto` is left to the data. `cluster.jobs.plan` resolves it."""

    method: Method = Method.LORA
    n_epochs: int | Auto = Field("auto")
    batch_size: int | Auto = Field("auto")
    learning_rate_multiplier: float | Auto = Field("auto")
    """Times the learning rate that `auto` would take, as OpenAI's clients mean it."""
    learning_rate: float | Auto = "auto"
    rank: int | Auto = "auto"
    alpha: int | Auto = "auto"
    dropout: float = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    max_length: int | Auto = "auto"
    warmup_steps: int | Auto = "auto"
    zero_stage: Literal[0, 1, 2, 3] = 2
    num_workers: int | Auto = "auto"
    checkpoint_steps: int | Auto = "auto"
    seed: int = 42


class TrainingPlan(_Strict):
    """Every number of a fine-tune, all decided. Lengths in tokens; batches in rows over all
    workers; `global_batch` is a multiple of `num_workers`."""

    method: Method
    epochs: int = Field(ge=1)
    max_steps: int = Field(ge=1)
    global_batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"]
    max_length: int = Field(ge=8)
    warmup_steps: int = Field(ge=0)
    zero_stage: Literal[0, 1, 2, 3]
    num_workers: int = Field(ge=1)
    cpus_per_worker: float = Field(gt=0)
    gpus_per_worker: float = Field(ge=0)
    checkpoint_steps: int = Field(ge=1)
    held_out_rows: int = Field(ge=0)
    """Rows kept from training to choose the best checkpoint by; 0 trains on everything."""
    stop_below_loss: float | None
    """End early once an epoch's mean training loss is under this."""
    seed: int
