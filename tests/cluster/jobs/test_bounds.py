"""QLoRA's quantised weights can't be sharded."""

from __future__ import annotations

import pytest

from cluster.errors import InvalidRequest
from cluster.jobs import bounds
from cluster.jobs.spec import Method, TrainingSpec
from cluster.settings import Settings
from tests.cluster.catalog.conftest import BASE


def test_qlora_refuses_zero_stage_3(settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="qlora") as refused:
        bounds.check(TrainingSpec(method=Method.QLORA, zero_stage=3), BASE, settings)
    assert refused.value.param == "hyperparameters.zero_stage"
    bounds.check(TrainingSpec(method=Method.QLORA, zero_stage=2), BASE, settings)
