"""Whether the cluster has room for a job's workers."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.jobs.spec import TrainingPlan


def resources(plan: TrainingPlan) -> dict[str, float]:
    """What Ray reserves for one worker."""
    gpus = {"GPU": plan.gpus_per_worker} if plan.gpus_per_worker > 0 else {}
    return {"CPU": plan.cpus_per_worker, **gpus}


def missing(plan: TrainingPlan, there: Mapping[str, float]) -> str | None:
    """Of what the workers need more than is there, as a sentence; None where there is room."""
    for name, each in resources(plan).items():
        needed, found = plan.num_workers * each, there.get(name, 0.0)
        if needed > found:
            return f"{plan.num_workers} workers need {needed:g} {name}s together, of {found:g}."
    return None
