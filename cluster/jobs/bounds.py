"""What a fine-tune may ask for, checked when it is created.

The engine that will serve the adapter sets the bounds: nothing is trained that can't be loaded.
"""

from __future__ import annotations

import math

from cluster.catalog.base_models import BaseModel
from cluster.errors import InvalidRequest
from cluster.jobs.spec import Method, TrainingSpec
from cluster.settings import Settings

EPOCHS = (1, 1000)
BATCH = (1, 1024)
WORKERS = (1, 64)
ALPHA = (1, 4096)
CHECKPOINT_STEPS = (1, 1_000_000)
WARMUP_STEPS = (0, 100_000)
SEED = (0, 2**31 - 1)
MIN_LENGTH = 8
MAX_MULTIPLIER = 100.0
MAX_LEARNING_RATE = 1.0
SHOWN = 60


def check(spec: TrainingSpec, base: BaseModel, settings: Settings) -> None:
    """Raises InvalidRequest naming the field, its value and what is allowed."""
    if base.max_rank < 1:
        raise InvalidRequest(
            f"The model {base.name!r} is served without adapters and can't be fine-tuned.",
            param="model",
        )
    if spec.method is Method.QLORA and spec.zero_stage == 3:
        raise _refused("zero_stage", 3, "with qlora 0, 1 and 2 are allowed")
    _whole("n_epochs", spec.n_epochs, EPOCHS)
    _whole("batch_size", spec.batch_size, BATCH)
    _whole("num_workers", spec.num_workers, WORKERS)
    _whole("alpha", spec.alpha, ALPHA)
    _whole("checkpoint_steps", spec.checkpoint_steps, CHECKPOINT_STEPS)
    _whole("warmup_steps", spec.warmup_steps, WARMUP_STEPS)
    _whole("rank", spec.rank, (1, base.max_rank), f"the bound of {base.name}'s engine")
    _whole(
        "max_length", spec.max_length, (MIN_LENGTH, base.context_length), f"{base.name}'s context"
    )
    if not SEED[0] <= spec.seed <= SEED[1]:
        raise InvalidRequest(
            f"seed is {str(spec.seed)[:SHOWN]}; allowed are {SEED[0]} to {SEED[1]}.", param="seed"
        )
    _positive("learning_rate", spec.learning_rate, MAX_LEARNING_RATE)
    _positive("learning_rate_multiplier", spec.learning_rate_multiplier, MAX_MULTIPLIER)
    if spec.learning_rate != "auto" and spec.learning_rate_multiplier != "auto":
        raise _refused(
            "learning_rate_multiplier",
            spec.learning_rate_multiplier,
            "it multiplies the automatic learning rate: leave out one of the two",
        )
    if not 0 <= spec.dropout < 1:  # NaN is refused too
        raise _refused("dropout", spec.dropout, "allowed is 0 up to, but not including, 1")
    _modules(spec, base)
    _shares(spec, settings)


def _whole(name: str, value: int | str, bounds: tuple[int, int], reason: str | None = None) -> None:
    if value == "auto":
        return
    low, high = bounds
    if not isinstance(value, int) or not low <= value <= high:
        because = f" ({reason})" if reason else ""
        raise _refused(name, value, f'allowed are {low} to {high}{because}, or "auto"')


def _positive(name: str, value: float | str, high: float) -> None:
    if value == "auto":
        return
    assert not isinstance(value, str)
    if not math.isfinite(value) or not 0 < value <= high:
        raise _refused(name, value, f'allowed is more than 0, up to {high:g}, or "auto"')


def _modules(spec: TrainingSpec, base: BaseModel) -> None:
    if spec.target_modules == "all-linear":
        return
    allowed = ", ".join(base.target_modules)
    if not spec.target_modules:
        raise _refused("target_modules", [], f'allowed are "all-linear" or some of {allowed}')
    for module in spec.target_modules:
        if module not in base.target_modules:
            raise _refused("target_modules", module[:40], f"{base.name} has {allowed}")


def _shares(spec: TrainingSpec, settings: Settings) -> None:
    """A batch is the same number of rows on every worker."""
    workers = settings.train_workers if spec.num_workers == "auto" else spec.num_workers
    if spec.batch_size != "auto" and spec.batch_size % workers:
        raise _refused(
            "batch_size", spec.batch_size, f"it must be a multiple of num_workers, {workers}"
        )
    if spec.method is Method.FULL and spec.target_modules != "all-linear":
        raise _refused(
            "target_modules", list(spec.target_modules), "a full fine-tune trains every module"
        )


def _refused(name: str, value: object, allowed: str) -> InvalidRequest:
    shown = repr(value)
    if len(shown) > SHOWN:
        shown = shown[: SHOWN - 1] + "…"
    return InvalidRequest(
        f"hyperparameters.{name} is {shown}; {allowed}.", param=f"hyperparameters.{name}"
    )
