"""Every number of a fine-tune, from what was asked, what the data holds and what the base is.

The rule behind `auto` was measured: twenty short pairs are learned by heart, two thousand are not
overdone. docs/training.md has the table.
"""

from __future__ import annotations

import math

from cluster.catalog.base_models import BaseModel
from cluster.datasets.validation import Report
from cluster.jobs.spec import Auto, Method, TrainingPlan, TrainingSpec
from cluster.settings import Settings

SMALL = 200
"""From so many rows on some are held out, and below it the loss ends the training."""
HELD_OUT = 0.05
TOKEN_BUDGET = 10_000_000
"""Tokens that `auto` trains on at most, as long as that leaves MIN_EPOCHS."""
MIN_EPOCHS = 2
USUAL_RANK = 32
USUAL_HIDDEN = 2000
LEARNED_LOSS = 0.01
WARMUP = 10


def resolve(
    spec: TrainingSpec,
    base: BaseModel,
    data: Report,
    settings: Settings,
    *,
    has_validation: bool = False,
    cluster_gpus: float = 0,
) -> TrainingPlan:
    """Decide every `auto`. `spec` has passed `bounds.check`; `data` is of a valid file."""
    workers = _or(spec.num_workers, settings.train_workers)
    batch = _or(spec.batch_size, _round_up(_clamp(data.rows // 2, 4, 16), workers))
    held_out = 0 if has_validation or data.rows < SMALL else round(data.rows * HELD_OUT)
    epochs = _or(spec.n_epochs, _epochs(data))
    max_steps = epochs * math.ceil((data.rows - held_out) / batch)
    rank = _or(spec.rank, min(USUAL_RANK, base.max_rank))
    # An explicit number of epochs is the caller's word: it is not cut short.
    by_loss = spec.n_epochs == "auto" and data.rows < SMALL
    gpus = settings.train_gpus_per_worker
    return TrainingPlan(
        method=spec.method,
        epochs=epochs,
        max_steps=max_steps,
        global_batch=batch,
        learning_rate=_learning_rate(spec, base),
        rank=rank,
        alpha=_or(spec.alpha, 2 * rank),
        dropout=spec.dropout,
        target_modules=spec.target_modules,
        max_length=_or(spec.max_length, base.context_length),
        warmup_steps=_or(spec.warmup_steps, min(WARMUP, max_steps // 10)),
        zero_stage=spec.zero_stage,
        num_workers=workers,
        cpus_per_worker=settings.train_cpus_per_worker,
        gpus_per_worker=gpus if gpus is not None else float(cluster_gpus > 0),
        checkpoint_steps=_or(spec.checkpoint_steps, _clamp(max_steps // 5, 10, 500)),
        held_out_rows=held_out,
        stop_below_loss=LEARNED_LOSS if by_loss else None,
        seed=spec.seed,
    )


def _epochs(data: Report) -> int:
    epochs = _clamp(round(4500 / data.rows), 3, 75)
    if data.tokens is not None and data.tokens.total:
        epochs = min(epochs, TOKEN_BUDGET // data.tokens.total)
    return max(MIN_EPOCHS, epochs)


def _learning_rate(spec: TrainingSpec, base: BaseModel) -> float:
    if spec.learning_rate != "auto":
        return spec.learning_rate
    hidden = base.hidden_size or USUAL_HIDDEN
    rate = 5e-4 * float((USUAL_HIDDEN / hidden) ** 0.775)
    if spec.method is Method.FULL:
        rate /= 5
    if spec.learning_rate_multiplier != "auto":
        rate *= spec.learning_rate_multiplier
    return rate


def _or(asked: int | Auto, automatic: int) -> int:
    return automatic if asked == "auto" else asked


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _round_up(value: int, step: int) -> int:
    return math.ceil(value / step) * step
