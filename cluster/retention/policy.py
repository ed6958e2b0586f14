"""What may go, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cluster.catalog.adapter_name import distinct
from cluster.catalog.lifecycle import WANTED
from cluster.jobs.states import JOB_LIFECYCLE, JobState
from cluster.settings import Settings
from cluster.store.schema import Adapter, Job


@dataclass(frozen=True)
class Policy:
    """How long files stay after what they belong to has ended, and answers after they were made."""

    retired_adapter: timedelta
    ended_job: timedelta
    leftover: timedelta = timedelta(days=1)
    """No upload and no deletion pauses for so long: what does was cut off."""
    stored_answer: timedelta = timedelta(days=30)

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        return cls(
            timedelta(seconds=settings.retired_adapter_keep),
            timedelta(seconds=settings.ended_job_keep),
            stored_answer=timedelta(seconds=settings.stored_keep),
        )

    def frees_folder(
        self, sharing: Iterable[Adapter], held: Collection[str], moment: datetime
    ) -> bool:
        """Whether a folder may go that the rows `sharing` name: equal weights are one folder.

        A failed adapter is as free as a retired one. `held`: the engines' names of all that
        replicas still hold.
        """
        digests = {name.rpartition("@")[2] for name in held}
        return all(
            row.state not in WANTED
            and moment - row.updated_at >= self.retired_adapter
            and distinct(row.digest) not in digests
            for row in sharing
        )

    def frees_job(self, job: Job, moment: datetime) -> bool:
        """Whether a job's checkpoints may go. A job that has a process may still write some."""
        return (
            JOB_LIFECYCLE.is_terminal(JobState(job.state))
            and job.submission_id is None
            and job.finished_at is not None
            and moment - job.finished_at >= self.ended_job
        )
