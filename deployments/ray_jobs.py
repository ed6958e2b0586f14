"""Training processes as Ray Jobs."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.errors import Unavailable
from cluster.jobs.runner import RunStatus, submission_id

Result = TypeVar("Result")

CALL_TIMEOUT = 15.0
DRIVER_CPUS = 0.05
"""The driver waits for its workers; their resources are Ray Train's."""
STATUSES = {
    JobStatus.PENDING: RunStatus.PENDING,
    JobStatus.RUNNING: RunStatus.RUNNING,
    JobStatus.SUCCEEDED: RunStatus.SUCCEEDED,
    JobStatus.FAILED: RunStatus.FAILED,
    JobStatus.STOPPED: RunStatus.STOPPED,
}
PASSED_ON = ("HF_HUB_OFFLINE", "HF_HOME", "PYTHONPATH", "GLOO_SOCKET_IFNAME")
KEPT_BACK = frozenset(
    f"LORIKEET_{name}" for name in ("INTERNAL_TOKEN", "DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL")
)
"""Ray shows a job's environment to whoever may see its dashboard; a trainer inherits what it needs
of these from the environment of its node."""


class RayJobs:
    """`cluster.jobs.runner.Runner` on the Ray cluster that this process belongs to."""

    def __init__(self, *, address: str | None = None) -> None:
        self._address = address
        self._client: JobSubmissionClient | None = None

    async def submit(self, job_id: str, attempt: int) -> str:
        submission = submission_id(job_id, attempt)
        command = [sys.executable, "-m", "train.run", "--job", job_id, "--attempt", str(attempt)]

        def call(client: JobSubmissionClient) -> None:
            try:
                client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=submission,
                    runtime_env={"env_vars": _environment()},
                    entrypoint_num_cpus=DRIVER_CPUS,
                    metadata={"lorikeet_job": job_id},
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise

        await self._call(call)
        return submission

    async def status(self, submission: str) -> RunStatus:
        def call(client: JobSubmissionClient) -> RunStatus:
            try:
                return STATUSES[client.get_job_status(submission)]
            except RuntimeError as error:
                if _is_unknown(error):
                    return RunStatus.UNKNOWN
                raise

        return await self._call(call)

    async def stop(self, submission: str) -> None:
        def call(client: JobSubmissionClient) -> None:
            try:
                client.stop_job(submission)
            except RuntimeError as error:
                if not _is_unknown(error):
                    raise

        await self._call(call)

    async def tail(self, submission: str, lines: int) -> str:
        def call(client: JobSubmissionClient) -> str:
            try:
                log: str = client.get_job_logs(submission)
            except RuntimeError as error:
                if _is_unknown(error):
                    return ""
                raise
            return "\n".join(log.splitlines()[-lines:])

        return await self._call(call)

    async def exit_code(self, submission: str) -> int | None:
        def call(client: JobSubmissionClient) -> int | None:
            try:
                code: int | None = client.get_job_info(submission).driver_exit_code
            except RuntimeError as error:
                if _is_unknown(error):
                    return None
                raise
            return code

        return await self._call(call)

    async def resources(self) -> Mapping[str, float]:
        there: dict[str, float] = await asyncio.to_thread(ray.cluster_resources)
        return there

    async def _call(self, call: Callable[[JobSubmissionClient], Result]) -> Result:
        """Run blocking HTTP in a thread: the client itself knows no time limit."""

        def work() -> Result:
            if self._client is None:
                self._client = JobSubmissionClient(self._address or _address())
            return call(self._client)

        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await asyncio.to_thread(work)
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            # OSError: the requests library's own errors are of that class.
            self._client = None  # the head may come back under another address
            raise Unavailable(f"Ray's job server does not answer: {error}"[:300]) from error


def _address() -> str | None:
    """This process's own cluster.

    Without it the client would take whatever cluster was started last on the machine.
    """
    if not ray.is_initialized():
        return None
    address: str = ray.get_runtime_context().gcs_address
    return address


def _environment() -> dict[str, str]:
    """What the driver must know of this process's environment."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or (name.startswith("LORIKEET_") and name not in KEPT_BACK)
    }
    # Time to write a checkpoint between SIGTERM and SIGKILL.
    return environment | {"RAY_JOB_STOP_WAIT_TIME_S": "30"}


def _is_unknown(error: RuntimeError) -> bool:
    return "status code 404" in str(error) or "does not exist" in str(error)
