"""The driver of one training: `python -m train.run --job ID --attempt N`, as a Ray Job.

It exits with 0 where the job has been brought to an end or given up, and with an error where
another attempt may do better; the supervisor reads the difference.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cluster.jobs.journal import Assignment, Journal, Superseded
from cluster.jobs.room import missing, resources
from cluster.settings import Settings, settings
from cluster.store.artifacts import Artifacts
from train.checkpoint import run_name
from train.loop import Work, on_worker
from train.publish import CataloguePublisher
from train.stop import StopMarker

WORKER_RESTARTS = 2
"""How often lost workers are replaced within an attempt."""
START_TRIES = 10
"""Where the whole cluster is too small. Ray Train tries for a minute at a time to start all
workers: time for an autoscaler's new nodes, after which the job fails, for it holds up others."""

# Read by Ray Train at import. The short poll takes 2 to 4 s off every run; the watcher is one more
# process, for clouds that announce preemption.
RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def main(argv: Sequence[str] | None = None) -> None:
    began = time.time()
    parser = argparse.ArgumentParser(prog="train.run", description="Run one fine-tune.")
    parser.add_argument("--job", required=True, help="id of the job")
    parser.add_argument("--attempt", type=int, default=1, help="which attempt this is")
    given = parser.parse_args(argv)
    config = settings()
    open_journal = partial(sql_journal, config, given.job, given.attempt)
    try:
        journal = open_journal()
        assignment = journal.assignment()
        journal.close()
    except Superseded:
        return
    publisher = partial(CataloguePublisher, config)
    run(Work(assignment, config.artifacts, open_journal, publisher, began))


def run(work: Work) -> None:
    """Train on the cluster that this process belongs to; returns once the workers are through."""
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_TRAIN.items()})
    import ray

    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=True)
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    job = work.assignment
    artifacts = Artifacts(work.artifacts_url)
    if (short := missing(job.plan, ray.available_resources())) is not None:
        tell(work, lambda journal: journal.note(f"Waiting for room: {short}", level="warn"))
    marker = StopMarker(artifacts, job.job_id, job.attempt)
    # After ray.init, which installs a handler of its own.
    before = signal.signal(signal.SIGTERM, lambda *_: marker.leave())
    try:
        trainer(work, artifacts).fit()
    except ControllerError as error:
        if not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
            raise
        short = missing(job.plan, ray.cluster_resources()) or "its workers did not start."
        message = f"The cluster has no room for the job: {short}"
        tell(work, lambda journal: journal.fail("insufficient_resources", message))
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(work: Work, write: Callable[[Journal], None]) -> None:
    """Write to the job's journal, unless it has moved on without this attempt."""
    journal = work.open_journal()
    try:
        write(journal)
    except Superseded:
        pass
    finally:
        journal.close()


def trainer(work: Work, artifacts: Artifacts) -> Any:
    """Ray Train's trainer for the job's plan."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from train.lost_workers import LostWorkers
    from train.rendezvous import Rendezvous
    from train.sign_of_life import SignOfLife

    plan, job = work.assignment.plan, work.assignment
    gpu = plan.gpus_per_worker > 0
    # Room that others have for now is waited for, up to the job's own time limit.
    too_small = missing(plan, ray.cluster_resources()) is not None
    return TorchTrainer(
        on_worker,
        train_loop_config={"work": work},
        torch_config=Rendezvous(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=plan.num_workers, use_gpu=gpu, resources_per_worker=resources(plan)
        ),
        run_config=RunConfig(
            name=run_name(job.attempt),
            failure_config=FailureConfig(
                max_failures=WORKER_RESTARTS,
                controller_failure_limit=START_TRIES - 1 if too_small else -1,
            ),
            worker_runtime_env={"env_vars": worker_environment(job)},
            callbacks=[
                SignOfLife(work.open_journal),
                LostWorkers(work.open_journal, work.artifacts_url, job.job_id),
            ],
            **storage(artifacts, f"jobs/{job.job_id}"),
        ),
    )


def worker_environment(job: Assignment) -> dict[str, str]:
    """What must be set before a worker imports torch."""
    threads = max(1, int(job.plan.cpus_per_worker))
    environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if job.plan.gpus_per_worker == 0:
        environment |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    offline = os.environ.get("HF_HUB_OFFLINE")
    return environment | ({"HF_HUB_OFFLINE": offline} if offline else {})


def storage(artifacts: Artifacts, uri: str) -> dict[str, Any]:
    """Where Ray Train puts checkpoints: a folder of the artifact store, whatever that is."""
    here = artifacts.local(uri)
    if here is not None:
        return {"storage_path": str(here)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return {
        "storage_path": artifacts.path(uri),
        "storage_filesystem": PyFileSystem(FSSpecHandler(artifacts.fs)),
    }


def sql_journal(config: Settings, job_id: str, attempt: int) -> Journal:
    from cluster.jobs.sql_journal import SqlJournal

    return SqlJournal(config, job_id, attempt)


if __name__ == "__main__":
    main()
