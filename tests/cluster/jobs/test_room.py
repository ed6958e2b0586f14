"""What the workers of a job need, next to what is free."""

from __future__ import annotations

from cluster.jobs.room import missing, resources
from cluster.jobs.spec import TrainingPlan
from tests.train.doubles import PLAN


def workers(number: int, gpus: float = 0) -> TrainingPlan:
    update = {"num_workers": number, "cpus_per_worker": 0.5, "gpus_per_worker": gpus}
    return PLAN.model_copy(update=update)


def test_all_workers_have_to_fit_together() -> None:
    assert missing(workers(8), {"CPU": 4.0}) is None
    assert missing(workers(9), {"CPU": 4.0}) == "9 workers need 4.5 CPUs together, of 4."


def test_gpus_count_where_the_plan_has_them() -> None:
    assert resources(workers(1)) == {"CPU": 0.5}
    short = missing(workers(2, gpus=1), {"CPU": 4.0})
    assert short == "2 workers need 2 GPUs together, of 0."
