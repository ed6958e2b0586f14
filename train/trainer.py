"""From a job's plan to a trainer that is ready to run. Needs the heavy imports: workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train.torch
import torch
from transformers import PrinterCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from cluster.jobs.journal import Assignment
from cluster.jobs.spec import Method, TrainingPlan
from train import methods
from train.data import Rows, as_dataset
from train.deepspeed import BatchShape, configuration
from train.faults import Unworkable


def on_gpu() -> bool:
    """Whether Ray gave this worker a GPU."""
    return bool(ray.train.torch.get_device().type == "cuda")


class Finetuner(SFTTrainer):
    """TRL's trainer on rows that are tokens already."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Checkpoints get none; the export has a card of our own."""


def arguments(plan: TrainingPlan, output: Path, *, gpu: bool) -> SFTConfig:
    """The trainer's arguments. Made before the model: ZeRO-3 shards the weights by them."""
    shape = BatchShape.of(plan.global_batch, plan.num_workers, plan.max_length)
    return SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=shape.micro,
        per_device_eval_batch_size=shape.micro,
        gradient_accumulation_steps=shape.accumulation,
        max_steps=plan.max_steps,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=plan.warmup_steps,
        max_grad_norm=1.0,
        optim="adamw_torch",
        seed=plan.seed,
        bf16=True,
        use_cpu=not gpu,
        ddp_backend="nccl" if gpu else "gloo",
        deepspeed=configuration(plan.zero_stage, shape, bf16=True),
        gradient_checkpointing=False,  # `build` decides, once the model is there
        logging_steps=1,
        logging_nan_inf_filter=False,
        # Both are asked for by the hooks, which also see that they fall on the same steps.
        save_strategy="no",
        eval_strategy="no",
        save_on_each_node=True,  # nodes need share no disk
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def build(assignment: Assignment, args: TrainingArguments, tokenizer: Any, rows: Rows) -> Finetuner:
    """Load the base model and put the trainer around it. Raises Unworkable."""
    plan = assignment.plan
    if plan.method is Method.QLORA and plan.zero_stage == 3:
        raise Unworkable(
            "invalid_hyperparameters",
            "qlora can not be sharded by ZeRO stage 3: choose zero_stage 0, 1 or 2.",
            param="hyperparameters.zero_stage",
        )
    # Without DeepSpeed's own master copies the weights stay in fp32 and the sums go to bf16.
    dtype = torch.float32 if plan.zero_stage == 0 else torch.bfloat16
    model = methods.load_model(assignment.base_source, plan.method, dtype)
    size = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
    args.gradient_checkpointing = size > methods.CHECKPOINTED_ABOVE
    trainer = Finetuner(
        model=model,
        args=args,
        train_dataset=as_dataset(rows.training),
        eval_dataset=as_dataset(rows.held_out) if rows.held_out else None,
        processing_class=tokenizer,
        peft_config=methods.adapter_config(plan, model, assignment.base_limits),
    )
    trainer.remove_callback(PrinterCallback)  # the journal has the figures
    return trainer
