"""Speed, time left, tokens and the mean loss of an epoch."""

from __future__ import annotations

import pytest

from train.progress import Pace, epoch_loss, trained_tokens


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_speed_and_time_left() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    pace.start(0)
    for step in range(1, 11):
        clock.now += 0.5
        last = pace.step(step, step / 2, step * 300, 1.0, 1e-3)
    assert last.tokens_per_second == pytest.approx(600)
    assert last.eta == pytest.approx(45.0)
    assert (last.step, last.max_steps, last.epoch) == (10, 100, 5.0)


def test_time_left_follows_the_last_steps() -> None:
    clock = Clock()
    pace = Pace(1000, clock)
    pace.start(0)
    for step in range(1, 201):
        clock.now += 10.0 if step <= 100 else 1.0
        last = pace.step(step, 1.0, step, 1.0, 1e-3)
    assert last.eta == pytest.approx(800.0)


def test_a_resumed_training_counts_from_its_checkpoint() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    pace.start(50)
    clock.now += 2.0
    assert pace.step(51, 1.0, 100, 1.0, 1e-3).eta == pytest.approx(98.0)


def test_tokens_of_all_resumes_are_summed() -> None:
    counts = [100, 200, 300, 100, 250]
    history = [{"loss": 1.0, "num_tokens": count} for count in counts]
    assert trained_tokens(history) == 550
    assert trained_tokens([*history, {"eval_loss": 1.0, "num_tokens": 9999}]) == 550
    assert trained_tokens([]) == 0


def test_the_loss_of_an_epoch_is_that_of_its_steps() -> None:
    history = [
        {"epoch": 0.5, "loss": 4.0},
        {"epoch": 1.0, "loss": 2.0},
        {"epoch": 1.0, "eval_loss": 9.0},
        {"epoch": 1.5, "loss": 1.0},
        {"epoch": 2.0, "loss": 0.5},
    ]
    assert epoch_loss(history, 1) == 3.0
    assert epoch_loss(history, 2) == 0.75
    assert epoch_loss(history, 3) is None
