from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.datasets.measure import Lengths
from cluster.datasets.rows import Shape
from cluster.datasets.validation import Report
from cluster.errors import InvalidRequest
from cluster.jobs.bounds import check
from cluster.jobs.plan import resolve
from cluster.jobs.spec import Method, TrainingSpec
from cluster.settings import Settings
from tests.cluster.jobs.world import BASE

SETTINGS = Settings(train_workers=2)
NONE = Lengths(0, 0.0, 0, 0)


def report(rows: int, tokens: int = 30) -> Report:
    lengths = Lengths(rows * tokens, tokens, tokens, tokens)
    return Report(Shape.CHAT, rows, 0, NONE, lengths, (), 0)


@pytest.mark.parametrize(
    ("rows", "tokens", "batch", "epochs", "steps", "held_out", "stop"),
    [
        (1, 30, 4, 75, 75, 0, 0.01),
        (5, 30, 4, 75, 150, 0, 0.01),
        (20, 30, 10, 75, 150, 0, 0.01),
        (60, 30, 16, 75, 300, 0, 0.01),
        (199, 30, 16, 23, 299, 0, 0.01),
        (200, 30, 16, 22, 264, 10, None),
        (2000, 30, 16, 3, 357, 100, None),
        (2000, 2000, 16, 2, 238, 100, None),
    ],
)
def test_the_automatic_rule(
    rows: int, tokens: int, batch: int, epochs: int, steps: int, held_out: int, stop: float | None
) -> None:
    plan = resolve(TrainingSpec(), BASE, report(rows, tokens), SETTINGS)
    assert (plan.global_batch, plan.epochs, plan.max_steps) == (batch, epochs, steps)
    assert (plan.held_out_rows, plan.stop_below_loss) == (held_out, stop)
    assert plan.global_batch % plan.num_workers == 0
    assert plan.warmup_steps == min(10, steps // 10)


def test_learning_rates_and_ranks() -> None:
    plan = resolve(TrainingSpec(), BASE, report(20), SETTINGS)
    assert plan.learning_rate == pytest.approx(5e-4 * (2000 / 256) ** 0.775)
    assert (plan.rank, plan.alpha) == (32, 64)
    full = resolve(TrainingSpec(method=Method.FULL), BASE, report(20), SETTINGS)
    assert full.learning_rate == pytest.approx(plan.learning_rate / 5)
    twice = resolve(TrainingSpec(learning_rate_multiplier=2.0), BASE, report(20), SETTINGS)
    assert twice.learning_rate == pytest.approx(plan.learning_rate * 2)
    small = resolve(TrainingSpec(), replace(BASE, max_rank=8), report(20), SETTINGS)
    assert (small.rank, small.alpha) == (8, 16)


def test_what_is_asked_is_taken() -> None:
    spec = TrainingSpec(n_epochs=2, batch_size=6, learning_rate=1e-3, rank=4, num_workers=3)
    plan = resolve(spec, BASE, report(400), SETTINGS, has_validation=True, cluster_gpus=1)
    assert (plan.epochs, plan.global_batch, plan.learning_rate) == (2, 6, 1e-3)
    assert (plan.rank, plan.alpha, plan.num_workers) == (4, 8, 3)
    assert (plan.held_out_rows, plan.gpus_per_worker, plan.stop_below_loss) == (0, 1.0, None)


def test_an_odd_batch_is_rounded_up_to_the_workers() -> None:
    plan = resolve(TrainingSpec(num_workers=3), BASE, report(20), SETTINGS)
    assert plan.global_batch == 12


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("n_epochs", 0, "1 to 1000"),
        ("n_epochs", 1001, "1 to 1000"),
        ("batch_size", 0, "1 to 1024"),
        ("batch_size", 3, "multiple of num_workers, 2"),
        ("num_workers", 65, "1 to 64"),
        ("learning_rate", 0.0, "more than 0"),
        ("learning_rate", -1e-3, "-0.001"),
        ("learning_rate", float("nan"), "nan"),
        ("learning_rate", float("inf"), "more than 0"),
        ("learning_rate_multiplier", -1.0, "up to 100"),
        ("rank", 65, "1 to 64 (the bound of budgie's engine)"),
        ("rank", 0, "1 to 64"),
        ("alpha", 0, "1 to 4096"),
        ("dropout", 1.0, "not including"),
        ("dropout", float("nan"), "nan"),
        ("max_length", 2049, "8 to 2048 (budgie's context)"),
        ("target_modules", ("q_proj", "wat"), "'wat'; budgie has q_proj, up_proj"),
        ("target_modules", (), "all-linear"),
        ("checkpoint_steps", 0, "1 to"),
        ("warmup_steps", -1, "0 to"),
    ],
)
def test_bounds(field: str, value: object, says: str) -> None:
    spec = TrainingSpec.model_validate({field: value})
    with pytest.raises(InvalidRequest) as caught:
        check(spec, BASE, SETTINGS)
    assert caught.value.param == f"hyperparameters.{field}"
    assert says in caught.value.message


def test_other_bounds() -> None:
    check(TrainingSpec(), BASE, SETTINGS)
    with pytest.raises(InvalidRequest, match="leave out one"):
        check(TrainingSpec(learning_rate=1e-3, learning_rate_multiplier=2.0), BASE, SETTINGS)
    with pytest.raises(InvalidRequest, match="without adapters"):
        check(TrainingSpec(), replace(BASE, max_rank=0), SETTINGS)
    with pytest.raises(InvalidRequest, match="seed"):
        check(TrainingSpec(seed=-1), BASE, SETTINGS)
