"""What Ray's job server knows of a process that has ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cluster.errors import Unavailable
from deployments.ray_jobs import RayJobs


class Server:
    """Ray's client, as far as it tells of one job."""

    def __init__(self, answer: int | RuntimeError | None) -> None:
        self.answer = answer

    def get_job_info(self, submission: str) -> SimpleNamespace:
        assert submission == "ftjob-1-1"
        if isinstance(self.answer, RuntimeError):
            raise self.answer
        return SimpleNamespace(driver_exit_code=self.answer)


def jobs(answer: int | RuntimeError | None) -> RayJobs:
    runner = RayJobs()
    runner._client = Server(answer)  # type: ignore[assignment]
    return runner


@pytest.mark.parametrize("code", [-9, 1, None])
async def test_the_exit_code_of_a_driver(code: int | None) -> None:
    assert await jobs(code).exit_code("ftjob-1-1") == code


async def test_the_exit_code_that_nobody_knows() -> None:
    gone = RuntimeError("Request failed with status code 404: Job ftjob-1-1 does not exist")
    assert await jobs(gone).exit_code("ftjob-1-1") is None
    with pytest.raises(Unavailable):
        await jobs(RuntimeError("no server")).exit_code("ftjob-1-1")
