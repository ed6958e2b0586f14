"""The batch's shape and DeepSpeed's configuration."""

from __future__ import annotations

import pytest

from train.deepspeed import BatchShape, configuration


@pytest.mark.parametrize(
    ("batch", "workers", "length", "accumulation", "micro"),
    [
        (10, 1, 256, 1, 10),
        (10, 2, 256, 1, 5),
        (16, 1, 2048, 2, 8),
        (7, 1, 4096, 7, 1),
        (4, 2, 100_000, 2, 1),
    ],
)
def test_a_batch_is_cut_into_what_fits(
    batch: int, workers: int, length: int, accumulation: int, micro: int
) -> None:
    shape = BatchShape.of(batch, workers, length)
    assert shape == BatchShape(workers=workers, accumulation=accumulation, micro=micro)


def test_stage_0_is_plain_data_parallel() -> None:
    shape = BatchShape.of(4, 1, 128)
    assert configuration(0, shape, bf16=True) is None


def test_the_configuration_by_stage() -> None:
    shape = BatchShape.of(16, 2, 4096)
    two = configuration(2, shape, bf16=True)
    three = configuration(3, shape, bf16=False, offload=True)
    assert two is not None
    assert three is not None
    assert two["train_batch_size"] == 16
    assert two["train_micro_batch_size_per_gpu"] * two["gradient_accumulation_steps"] == 8
    assert two["gradient_clipping"] == 1.0
    assert two["bf16"] == {"enabled": True}
    assert two["zero_optimization"]["stage"] == 2
    assert "offload_optimizer" not in two["zero_optimization"]
    assert three["bf16"] == {"enabled": False}
    assert three["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert three["zero_optimization"]["offload_param"] == {"device": "cpu"}
