"""A new job's data, judged before it is queued."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import anyio.to_thread
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.catalog.base_models import BaseModel
from cluster.datasets.tokens import TokenizerLoader
from cluster.datasets.validation import Report, TokenCounter, validate
from cluster.errors import Unavailable
from cluster.jobs.journal import Level
from cluster.jobs.plan import resolve
from cluster.jobs.room import missing
from cluster.jobs.runner import Runner
from cluster.jobs.spec import TrainingPlan, TrainingSpec
from cluster.jobs.states import JobState
from cluster.jobs.transition import append, fail, move
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.schema import BaseModelRow, File, Job, now
from cluster.store.sql import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejection:
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a job's data: a plan, or a reason why not."""

    outcome: TrainingPlan | Rejection
    reports: tuple[tuple[str, Report], ...] = ()
    """By parameter name: training_file, validation_file."""
    remark: str | None = None

    def record(self, session: AsyncSession, job: Job) -> None:
        """Write the reports, then queue the job or end it."""
        if self.remark:
            append(session, job, self.remark, level="warn")
        for param, report in self.reports:
            _append_report(session, job, param, report)
        if isinstance(self.outcome, Rejection):
            reason = self.outcome
            fail(session, job, reason.code, reason.message, param=reason.param)
        else:
            plan = self.outcome.model_dump(mode="json")
            job.resolved, job.max_steps = plan, self.outcome.max_steps
            move(session, job, JobState.QUEUED, "The data is valid; queued.", data={"plan": plan})


class Intake:
    """Reads a job's files in a thread and plans its training. Changes nothing itself."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        runner: Runner,
        settings: Settings,
        load_tokenizer: TokenizerLoader,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._runner = runner
        self._settings = settings
        self._load_tokenizer = load_tokenizer

    async def judge(self, job: Job) -> Verdict:
        """Raises Unavailable where the database or the cluster is away: judge again later."""
        async with self._database.begin() as session:
            base_row = await session.get(BaseModelRow, job.base_model)
            files = [
                (param, file_id, await session.get(File, file_id))
                for param, file_id in (
                    ("training_file", job.training_file_id),
                    ("validation_file", job.validation_file_id),
                )
                if file_id is not None
            ]
        if base_row is not None and may_come_back(base_row, self._settings):
            raise Unavailable(f"The base model {job.base_model} is not served at the moment.")
        if base_row is None or base_row.removed_at is not None:
            message = f"The base model {job.base_model} is no longer served."
            return Verdict(Rejection("model_not_found", message, "model"))
        base, spec = BaseModel.of(base_row), TrainingSpec.model_validate(job.spec)
        counter, remark = await self._counter(base)
        reports: list[tuple[str, Report]] = []
        for param, file_id, file in files:
            gone = Rejection("file_not_found", f"{param}: {file_id} is gone.", param)
            if file is None:
                return Verdict(gone, tuple(reports), remark)
            read = partial(self._read, file.uri, spec, base, counter)
            try:
                report = await anyio.to_thread.run_sync(read)
            except FileNotFoundError:
                return Verdict(gone, tuple(reports), remark)
            reports.append((param, report))
            if not report.ok:
                return Verdict(_rejection(param, report), tuple(reports), remark)
        there = await self._runner.resources()
        plan = resolve(
            spec,
            base,
            reports[0][1],
            self._settings,
            has_validation=len(reports) > 1,
            cluster_gpus=there.get("GPU", 0.0),
        )
        short = missing(plan, there)
        if short is not None and not self._settings.train_cluster_grows:
            message = f"The cluster is too small for the job: {short}"
            refusal = Rejection("insufficient_resources", message, "hyperparameters.num_workers")
            return Verdict(refusal, tuple(reports), remark)
        return Verdict(plan, tuple(reports), remark)

    async def _counter(self, base: BaseModel) -> tuple[TokenCounter | None, str | None]:
        try:
            return await anyio.to_thread.run_sync(self._load_tokenizer, base.source), None
        except Exception as error:  # whatever a tokenizer file makes its library raise
            log.warning("no tokenizer for %s: %s", base.name, error)
            return (
                None,
                "The base model's tokenizer was not found: rows are not measured in tokens.",
            )

    def _read(
        self, uri: str, spec: TrainingSpec, base: BaseModel, counter: TokenCounter | None
    ) -> Report:
        longest = base.context_length if spec.max_length == "auto" else spec.max_length
        return validate(self._artifacts.read(uri), count_tokens=counter, max_tokens=longest)


def _rejection(param: str, report: Report) -> Rejection:
    more = report.problem_count - 1
    others = (
        f" ({more} more problem{'s' if more > 1 else ''}: see the job's events)" if more else ""
    )
    first = report.problems[0].message
    return Rejection(f"invalid_{param}", f"{param}: {first}{others}", param)


def _append_report(session: AsyncSession, job: Job, param: str, report: Report) -> None:
    for problem in report.problems:
        data: dict[str, Any] = {
            "param": param,
            "line": problem.line,
            "field": problem.field,
            "value": problem.value,
            "allowed": problem.allowed,
        }
        append(session, job, f"{param}: {problem.message}", level="error", data=data)
    shown = len(report.problems)
    tail = f", of which {shown} are shown" if report.problem_count > shown else ""
    what = f"{report.problem_count} problems{tail}" if report.problem_count else "no problems"
    message = f"{param}: {report.rows} good rows, {report.duplicates} of them repeated; {what}."
    level: Level = "info" if report.ok else "error"
    append(session, job, message, level=level, data=report.summary())


def may_come_back(base: BaseModelRow, settings: Settings) -> bool:
    """Whether a model went so lately that a restart or a redeployment may explain it."""
    grace = timedelta(seconds=settings.train_start_timeout)
    return base.removed_at is not None and now() - base.removed_at < grace
