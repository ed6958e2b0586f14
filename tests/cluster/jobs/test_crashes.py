"""The supervisor dies anywhere, drivers and clusters die too; still every job ends, once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import Conflict
from cluster.jobs.backoff import Backoff
from cluster.jobs.runner import RunStatus
from cluster.jobs.states import JOB_LIFECYCLE, RUNNING, JobState
from cluster.jobs.supervision import Supervision
from cluster.jobs.transition import move, seize
from cluster.settings import Settings
from cluster.store.schema import Adapter, Job, JobEvent
from cluster.store.sql import Database
from tests.cluster.doom import Crash, Doom, DoomedDatabase
from tests.cluster.jobs.world import FakeRunner, World, make_world

S = JobState
NEXT = {
    S.STARTING: S.TRAINING,
    S.TRAINING: S.EVALUATING,
    S.EVALUATING: S.SAVING,
    S.SAVING: S.REGISTERING,
}


class DoomedRunner(FakeRunner):
    doom: Doom

    def _answer(self) -> None:
        self.doom.tick()
        super()._answer()

    async def submit(self, job_id: str, attempt: int) -> str:
        name = await super().submit(job_id, attempt)
        self.doom.tick()
        return name


class Story:
    def __init__(self, world: World, database: DoomedDatabase, runner: DoomedRunner) -> None:
        self.world, self.doomed, self.runner = world, database, runner
        self.doom = runner.doom = database.doom = Doom()
        world.runner = runner
        self.supervision = self._supervision()

    def _supervision(self) -> Supervision:
        return Supervision(
            self.doomed, self.world.artifacts, self.runner, self.world.settings,
            lambda source: lambda row: 1, poll_seconds=0, backoff=Backoff(first=0.0),
        )  # fmt: skip

    async def step(self, life: int = -1) -> None:
        self.doom.left = life
        try:
            await self.supervision.step()
            tasks = self.supervision.validations.tasks.values()
            await asyncio.gather(*tasks, return_exceptions=True)
        except Crash:
            await self.supervision.validations.close()
            self.supervision = self._supervision()
        finally:
            self.doom.left = -1
        self._one_live_attempt()

    def _one_live_attempt(self) -> None:
        live = Counter(
            name.rpartition("-")[0]
            for name, status in self.runner.runs.items()
            if status is RunStatus.RUNNING
        )
        assert all(count == 1 for count in live.values()), live

    async def rows(self) -> list[Job]:
        async with self.world.database.begin() as session:
            return list(await session.scalars(select(Job).order_by(Job.created_at)))

    async def drive(self) -> None:
        """Every live driver does one thing more; the last is to end."""
        for name, status in list(self.runner.runs.items()):
            if status is not RunStatus.RUNNING:
                continue
            job_id, _, attempt = name.rpartition("-")
            async with self.world.database.begin() as session:
                job = await seize(session, job_id, attempt=int(attempt), states=RUNNING)
                if job is None:  # superseded, or done
                    self.runner.runs[name] = RunStatus.SUCCEEDED
                    continue
                after = NEXT[S(job.state)]
                move(session, job, after, after)
                if after is S.REGISTERING:
                    self._adapter(session, job)

    def _adapter(self, session: AsyncSession, job: Job) -> None:
        job.adapter_id, job.fine_tuned_model = f"adapter-{job.id}", f"ft:{job.id}"
        session.add(
            Adapter(
                id=job.adapter_id, organization_id=job.organization_id,
                project_id=job.project_id, name=job.fine_tuned_model, base_model="budgie",
                digest="d", uri="u", bytes=1, rank=1, target_modules=[], state="publishing",
                job_id=job.id,
            )
        )  # fmt: skip

    async def publish(self) -> None:
        async with self.world.database.begin() as session:
            await session.execute(update(Adapter).values(state="published"))

    async def ask(self, action: str, index: int) -> None:
        rows = await self.rows()
        call = getattr(self.world.jobs, action)
        with contextlib.suppress(Conflict):
            await call(self.world.ann, rows[index % len(rows)].id)

    async def do(self, action: str, number: int) -> None:
        match action:
            case "crash":
                await self.step(1 + number)
            case "drive":
                await self.drive()
            case "publish":
                await self.publish()
            case "kill":
                for name in list(self.runner.runs)[number % 3 :: 3]:
                    if self.runner.runs[name] is RunStatus.RUNNING:
                        self.runner.runs[name] = RunStatus.FAILED
            case "restart":
                self.runner.runs.clear()
            case "away":
                self.runner.away = not self.runner.away
            case "step":
                await self.step()
            case _:
                await self.ask(action, number)

    async def end(self) -> list[list[JobState]]:
        """From here on all goes well. Returns the states that each job went through."""
        self.runner.away = False
        for _ in range(60):
            await self.step()
            await self.drive()
            await self.publish()
            rows = await self.rows()
            for job in rows:
                if job.state == S.PAUSED:
                    await self.world.jobs.resume(self.world.ann, job.id)
            if all(JOB_LIFECYCLE.is_terminal(S(job.state)) for job in rows):
                break
        await self.step()
        await self.step()
        rows = await self.rows()
        assert [job.submission_id for job in rows] == [None] * len(rows), "nothing runs on"
        return [[S.VALIDATING, *await self._moves(job)] for job in rows]

    async def _moves(self, job: Job) -> list[JobState]:
        events = select(JobEvent).where(JobEvent.job_id == job.id)
        async with self.world.database.begin() as session:
            told = [event.data or {} for event in await session.scalars(events)]
        return [S(data["state"]) for data in told if "state" in data]


ACTIONS = [
    "step",
    "crash",
    "drive",
    "publish",
    "kill",
    "restart",
    "away",
    "cancel",
    "pause",
    "resume",
]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from([*ACTIONS, "step", "crash", "drive"]), st.integers(0, 12)),
        max_size=20,
    )
)
def test_whatever_happens_every_job_ends_once(
    sqlite_template: Path, actions: list[tuple[str, int]]
) -> None:
    async def tell(home: Path) -> list[list[JobState]]:
        shutil.copy(sqlite_template, home / "lorikeet.db")
        url = f"sqlite+aiosqlite:///{home / 'lorikeet.db'}"
        calm, doomed = Database(url), DoomedDatabase(url)
        try:
            world = await make_world(calm, Settings(home=home, train_concurrent_jobs=2))
            story = Story(world, doomed, DoomedRunner())
            for _ in range(3):
                await world.create(world.ann)
            for action, number in actions:
                await story.do(action, number)
            histories = await story.end()
            await story.supervision.validations.close()
        finally:
            await calm.close()
            await doomed.close()
        return histories

    with tempfile.TemporaryDirectory() as folder:
        histories = asyncio.run(tell(Path(folder)))
    assert len(histories) == 3
    for states in histories:
        assert [JOB_LIFECYCLE.is_terminal(state) for state in states] == [
            *[False] * (len(states) - 1), True,
        ], states  # fmt: skip
        for before, after in pairwise(states):
            assert JOB_LIFECYCLE.allows(before, after)
