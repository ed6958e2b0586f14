"""From plan and engine limits to what PEFT trains."""

from __future__ import annotations

import pytest

from cluster.jobs.spec import Method
from tests.train.doubles import assignment
from train.faults import Unworkable
from train.methods import adapter_config, linear_layers, targets

LAYERS = ["q_proj", "v_proj", "gate"]


def test_all_linear_is_what_the_engine_serves() -> None:
    plan = assignment().plan
    assert targets(plan, LAYERS, {}) == ["gate", "q_proj", "v_proj"]
    limits = {"target_modules": ["q_proj", "v_proj", "o_proj"]}
    assert targets(plan, LAYERS, limits) == ["q_proj", "v_proj"]


def test_named_layers_must_be_there_and_served() -> None:
    plan = assignment(target_modules=("q_proj", "gate")).plan
    assert targets(plan, LAYERS, {}) == ["gate", "q_proj"]
    with pytest.raises(Unworkable, match=r"\['gate'\].*allowed: q_proj") as caught:
        targets(plan, LAYERS, {"target_modules": ["q_proj"]})
    assert caught.value.param == "hyperparameters.target_modules"


def test_a_rank_above_the_engine_s_is_refused() -> None:
    with pytest.raises(Unworkable, match=r"rank is 32.*at most 16"):
        targets(assignment().plan, LAYERS, {"max_rank": 16})


@pytest.mark.slow
def test_the_peft_config_follows_the_plan() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1,
        )
    )  # fmt: skip
    seven = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert linear_layers(model) == seven
    plan = assignment(rank=8, alpha=16, dropout=0.1).plan
    config = adapter_config(plan, model, {})
    assert config is not None
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.1)
    assert set(config.target_modules) == seven
    full = plan.model_copy(update={"method": Method.FULL})
    assert adapter_config(full, model, {}) is None
