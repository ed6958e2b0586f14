"""How far a training is and how fast: one line of figures a step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cluster.jobs.journal import Progress

WINDOW = 50
"""Steps that the speed is taken over."""


class Pace:
    """Speed over the last WINDOW steps, and the time left at that speed."""

    def __init__(self, max_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_steps = max_steps
        self._clock = clock
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=WINDOW + 1)

    def start(self, step: int) -> None:
        """Training begins after `step` steps (0, or those of the checkpoint resumed from)."""
        self._seen.append((self._clock(), step, 0))

    def step(
        self, step: int, epoch: float, tokens: int, loss: float, learning_rate: float
    ) -> Progress:
        """The figures after `step`. `tokens` counts all tokens since `start`."""
        now = self._clock()
        then, first, before = self._seen[0] if self._seen else (now, step, tokens)
        self._seen.append((now, step, tokens))
        elapsed, steps = now - then, step - first
        return Progress(
            step=step,
            max_steps=self._max_steps,
            epoch=epoch,
            loss=loss,
            learning_rate=learning_rate,
            tokens_per_second=(tokens - before) / elapsed if elapsed > 0 else 0.0,
            eta=(self._max_steps - step) * elapsed / steps if steps > 0 else 0.0,
        )


def trained_tokens(history: Iterable[Mapping[str, Any]]) -> int:
    """All tokens that went through the model, padding left out, of the trainer's log history.

    The trainer counts from 0 again after each resume, so drops in the count begin a new sum.
    """
    total = last = 0
    for entry in history:
        if "loss" in entry and "num_tokens" in entry:
            count = int(entry["num_tokens"])
            total += count - last if count >= last else count
            last = count
    return total


def epoch_loss(history: Iterable[Mapping[str, Any]], epoch: int) -> float | None:
    """The mean training loss of the steps of epoch `epoch` (the first is 1), None without any."""
    losses = [
        float(entry["loss"])
        for entry in history
        if "loss" in entry and epoch - 1 < entry["epoch"] <= epoch
    ]
    return sum(losses) / len(losses) if losses else None
