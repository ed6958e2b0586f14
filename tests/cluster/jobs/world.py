"""A world with one base model, two organizations, and a cluster that is a dictionary."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from cluster.catalog.base_models import BaseModel, BaseModels, ModelKind
from cluster.errors import Unavailable
from cluster.files.files import Files
from cluster.jobs.backoff import Backoff
from cluster.jobs.jobs import Jobs
from cluster.jobs.request import JobRequest
from cluster.jobs.runner import RunStatus, submission_id
from cluster.jobs.supervision import Supervision
from cluster.settings import Settings
from cluster.store.artifacts import Artifacts
from cluster.store.schema import Job, Organization, Plan, Project
from cluster.store.sql import Database
from cluster.tenancy.principal import Limits, Principal, Scope

BASE = BaseModel(
    name="budgie",
    kind=ModelKind.LLM,
    application="budgie",
    source="/nowhere",
    context_length=2048,
    aliases=("small",),
    max_rank=64,
    hidden_size=256,
    modules={
        "model.layers.0.self_attn.q_proj": (256, 256),
        "model.layers.0.mlp.up_proj": (512, 256),
    },
)


def facts(count: int = 20) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": f"Q{i}"}, {"role": "assistant", "content": "A"}]}
        for i in range(count)
    )
    return "\n".join(json.dumps(row) for row in rows).encode()


async def stream(content: bytes) -> AsyncIterator[bytes]:
    yield content


@dataclass
class FakeRunner:
    """Runs that do nothing by themselves. `away` makes every call fail."""

    runs: dict[str, RunStatus] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)
    log: str = "Traceback\nValueError: broken"
    code: int | None = 1
    there: dict[str, float] = field(default_factory=lambda: {"CPU": 4.0})
    away: bool = False

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("no cluster")

    async def submit(self, job_id: str, attempt: int) -> str:
        self._answer()
        name = submission_id(job_id, attempt)
        self.runs.setdefault(name, RunStatus.RUNNING)
        return name

    async def status(self, submission: str) -> RunStatus:
        self._answer()
        return self.runs.get(submission, RunStatus.UNKNOWN)

    async def stop(self, submission: str) -> None:
        self._answer()
        self.stops.append(submission)
        if self.runs.get(submission) is RunStatus.RUNNING:
            self.runs[submission] = RunStatus.STOPPED

    async def tail(self, submission: str, lines: int) -> str:
        return self.log

    async def exit_code(self, submission: str) -> int | None:
        return self.code

    async def resources(self) -> dict[str, float]:
        return self.there


@dataclass
class World:
    database: Database
    settings: Settings
    artifacts: Artifacts
    files: Files
    jobs: Jobs
    runner: FakeRunner
    ann: Principal
    bob: Principal

    def supervision(self, **options: object) -> Supervision:
        """It has no pause after a failure, unless another backoff is given."""
        return Supervision(
            self.database,
            self.artifacts,
            self.runner,
            self.settings,
            lambda source: lambda row: row.characters,
            **{"poll_seconds": 0, "backoff": Backoff(first=0.0), **options},  # type: ignore[arg-type]
        )

    async def upload(self, who: Principal, content: bytes | None = None) -> str:
        row = await self.files.upload(
            who, filename="d.jsonl", purpose="fine-tune", chunks=stream(content or facts())
        )
        return row.id

    async def create(self, who: Principal, content: bytes | None = None, **more: object) -> Job:
        file_id = await self.upload(who, content)
        return await self.jobs.create(
            who,
            JobRequest("budgie", file_id, **more),  # type: ignore[arg-type]
        )

    async def settle(self, supervision: Supervision, steps: int = 4) -> None:
        """Let validations end, which run in threads."""
        for _ in range(steps):
            await supervision.step()
            await asyncio.gather(*supervision.validations.tasks.values(), return_exceptions=True)
        await supervision.step()


async def make_world(database: Database, settings: Settings) -> World:
    settings = settings.model_copy(update={"database_url": database.url})
    async with database.begin() as session:
        session.add(Plan(key="free"))
        await session.flush()
        for slug in ("ann", "bob"):
            session.add(
                Organization(
                    id=f"org-{slug}", name=slug, slug=slug, plan_key="free", cache_salt="s"
                )
            )
        await session.flush()
        for slug in ("ann", "bob"):
            session.add(Project(id=f"proj-{slug}", organization_id=f"org-{slug}", name="default"))
    await BaseModels(database).register(BASE)
    artifacts = Artifacts(settings.artifacts)
    ann, bob = (
        Principal(
            f"org-{slug}", slug, f"proj-{slug}", "key", frozenset({Scope.TRAIN}), Limits(), "salt"
        )
        for slug in ("ann", "bob")
    )
    return World(
        database,
        settings,
        artifacts,
        Files(database, artifacts, settings),
        Jobs(database, settings),
        FakeRunner(),
        ann,
        bob,
    )


@pytest.fixture
async def world(sqlite_url: str, settings: Settings) -> AsyncIterator[World]:
    database = Database(sqlite_url)
    yield await make_world(database, settings)
    await database.close()


@pytest.fixture
async def both(database: Database, settings: Settings) -> World:
    """The same world on SQLite, then on PostgreSQL."""
    return await make_world(database, settings)
