"""Whether the cluster has room for a job's workers."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.jobs.spec import TrainingPlan

START_TRIES = 10
"""Ray Train tries for a minute at a time to start all workers. Long enough for an autoscaler's new
nodes; after that the job fails, for it holds up those behind it."""


def resources(plan: TrainingPlan) -> dict[str, float]:
    """What Ray reserves for one worker."""
    gpus = {"GPU": plan.gpus_per_worker} if plan.gpus_per_worker > 0 else {}
    return {"CPU": plan.cpus_per_worker, **gpus}


def missing(plan: TrainingPlan, free: Mapping[str, float]) -> str | None:
    """Of what the workers need more than is `free`, as a sentence; None where there is room."""
    for name, each in resources(plan).items():
        needed, there = plan.num_workers * each, free.get(name, 0.0)
        if needed > there:
            return (
                f"{plan.num_workers} workers need {needed:g} {name}s together; "
                f"{there:g} are free in the cluster."
            )
    return None
