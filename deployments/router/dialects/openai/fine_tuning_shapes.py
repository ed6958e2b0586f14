"""Fine-tunes as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

from cluster.jobs.states import JobState
from cluster.store.schema import Job, JobCheckpoint, JobEvent, now

STATUS = {
    JobState.VALIDATING: "validating_files",
    JobState.QUEUED: "queued",
    JobState.STARTING: "running",
    JobState.TRAINING: "running",
    JobState.EVALUATING: "running",
    JobState.SAVING: "running",
    JobState.REGISTERING: "running",
    JobState.PAUSED: "paused",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.TIMED_OUT: "failed",
    JobState.CANCELLED: "cancelled",
}


def render_job(job: Job) -> dict[str, Any]:
    state = JobState(job.state)
    numbers = _hyperparameters(job)
    error = None
    if job.error_code is not None:
        error = {"code": job.error_code, "message": job.error_message, "param": job.error_param}
    done = state is JobState.SUCCEEDED
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at.timestamp()),
        "finished_at": None if job.finished_at is None else int(job.finished_at.timestamp()),
        "status": STATUS[state],
        "model": job.base_model,
        # A name that does not answer yet is not told.
        "fine_tuned_model": job.fine_tuned_model if done else None,
        "organization_id": job.organization_id,
        "training_file": job.training_file_id,
        "validation_file": job.validation_file_id,
        "hyperparameters": numbers,
        "method": {"type": "supervised", "supervised": {"hyperparameters": numbers}},
        "trained_tokens": job.trained_tokens if done else None,
        "estimated_finish": _estimated_finish(job),
        "result_files": [],
        "seed": job.spec["seed"],
        "integrations": [],
        "metadata": job.request_metadata,
        "user_provided_suffix": job.suffix,
        "error": error,
    }


def render_event(event: JobEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": int(event.at.timestamp()),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        # A step has a time of its own: it is told some time after it was made.
        "data": {"at": event.at.timestamp()} | (event.data or {}),
    }


def render_checkpoint(checkpoint: JobCheckpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(checkpoint.created_at.timestamp()),
        # Checkpoints are for going on from, not for answering: the name is not served.
        "fine_tuned_model_checkpoint": f"{checkpoint.job_id}:ckpt-step-{checkpoint.step}",
        "fine_tuning_job_id": checkpoint.job_id,
        "metrics": {"step": checkpoint.step} | checkpoint.metrics,
        "step_number": checkpoint.step,
    }


def _hyperparameters(job: Job) -> dict[str, Any]:
    """As asked, with each `auto` replaced by its number once that is known."""
    asked = {name: value for name, value in job.spec.items() if name not in ("method", "seed")}
    numbers = asked | {"training_method": job.spec["method"]}
    if job.resolved is not None:
        plan = dict(job.resolved)
        numbers |= {name: plan[name] for name in numbers if name in plan}
        numbers |= {"n_epochs": plan["epochs"], "batch_size": plan["global_batch"]}
    return numbers


def _estimated_finish(job: Job) -> int | None:
    metrics = job.metrics
    if metrics is None or job.state != JobState.TRAINING:
        return None
    finish = metrics["at"] + metrics["eta"]
    # Until its first step an attempt shows the numbers of the one before.
    return int(finish) if finish > now().timestamp() else None
