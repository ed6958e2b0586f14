"""The model card: what a fine-tune was made of, for people and for the Hub's parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from cluster.jobs.journal import Assignment

LIBRARIES = ("torch", "transformers", "peft", "trl", "deepspeed", "ray")


@dataclass(frozen=True)
class Outcome:
    """How a training ended. Losses are means per token."""

    step: int
    """The step whose weights were kept."""
    last_step: int
    training_loss: float | None
    """Of the last epoch."""
    held_out_loss: float | None
    trained_tokens: int
    rows: int
    held_out_rows: int
    truncated_rows: int
    data_sha256: str


def model_card(name: str, assignment: Assignment, outcome: Outcome) -> str:
    """Markdown with a YAML head. No dates: the same training gives the same card."""
    plan = assignment.plan
    losses = {
        "training loss, last epoch": _loss(outcome.training_loss),
        "held-out loss": _loss(outcome.held_out_loss),
    }
    data = {
        "sha256 of the training file": f"`{outcome.data_sha256}`",
        "rows trained on": outcome.rows,
        "rows held out": outcome.held_out_rows,
        "rows cut at max_length": outcome.truncated_rows,
        "tokens trained on": outcome.trained_tokens,
        "weights of step": f"{outcome.step} of {outcome.last_step}",
    }
    return "\n".join(
        [
            "---",
            f"base_model: {assignment.base_model}",
            "library_name: peft" if plan.method != "full" else "library_name: transformers",
            "pipeline_tag: text-generation",
            "---",
            f"# {name}",
            "",
            f"{assignment.base_model}, fine-tuned by job `{assignment.job_id}`.",
            "",
            *_table("Result", losses),
            *_table("Data", data),
            *_table("Parameters", plan.model_dump(mode="json")),
            *_table("Libraries", {name: version(name) for name in LIBRARIES}),
        ]
    )


def _loss(loss: float | None) -> str:
    return "not measured" if loss is None else f"{loss:.4f}"


def _table(title: str, rows: Mapping[str, object]) -> list[str]:
    body = [f"| {key} | {value} |" for key, value in rows.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *body, ""]
