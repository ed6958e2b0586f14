"""The commands against the routes themselves: files and fine-tunes, from upload to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from cluster.cli import train_progress
from cluster.embedded.ports import listen
from cluster.jobs.states import JobState
from cluster.jobs.transition import append, move, seize
from cluster.store.schema import JobCheckpoint
from tests.cluster.jobs.world import World, world
from tests.deployments.router.dialects.openai.serving import app

from .conftest import Outcome, Run

__all__ = ["world"]


class Shell:
    """Runs commands beside the event loop that serves them."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def __call__(self, *words: str) -> Outcome:
        return await asyncio.to_thread(self._run, *words)


@pytest.fixture
async def shell(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    monkeypatch.setattr(train_progress, "POLL_SECONDS", 0.01)
    server = uvicorn.Server(
        uvicorn.Config(app(world, world.ann), lifespan="off", log_level="warning")
    )
    with listen("127.0.0.1", 0) as listener:
        monkeypatch.setenv("LORIKEET_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("LORIKEET_API_KEY", "sk-test")
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield Shell(run)
        server.should_exit = True
        await serving


async def test_files_come_and_go(shell: Shell, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.jsonl" for n in range(3)]
    for path in paths:
        path.write_text('{"messages": []}\n')
    ids = [(await shell("files", "upload", str(path))).out.strip() for path in paths]
    listed = await shell("files", "list", "--limit", "2")
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == ids[:0:-1]
    assert "--limit shows more" in listed.err
    saved = tmp_path / "saved"
    assert (await shell("files", "content", ids[0], "-o", str(saved))).code == 0
    assert saved.read_bytes() == paths[0].read_bytes()
    assert (await shell("files", "delete", ids[0])).out == f"Deleted {ids[0]}.\n"
    gone = await shell("files", "content", ids[0])
    assert (gone.code, gone.out) == (1, "")
    assert ids[0] in gone.err


async def test_a_job_from_submit_to_cancel(shell: Shell, world: World) -> None:
    file_id = await world.upload(world.ann)
    job_id = (await shell("train", "submit", file_id, "-m", "budgie", "--epochs", "2")).out.strip()
    supervision = world.supervision()
    await world.settle(supervision)
    async with world.database.begin() as session:
        row = await seize(session, job_id)
        assert row is not None
        move(session, row, JobState.TRAINING, "training")
        data = {"step": 1, "max_steps": 4, "train_loss": 2.0, "eta": 3.0}
        append(session, row, "Step 1", kind="metrics", data=data)
        metrics = {"train_loss": 1.0}
        session.add(JobCheckpoint(id="c1", job_id=job_id, step=5, uri="u", metrics=metrics))
    assert "train_loss 1" in (await shell("train", "checkpoints", job_id)).out
    assert (await shell("train", "show", job_id, "--json")).json()["status"] == "running"
    paused = await shell("train", "pause", job_id)
    assert paused.out == f"{job_id} running\n"
    assert "It pauses when" in paused.err
    await supervision.step()
    await supervision.step()
    assert (await shell("train", "list", "--json")).json()[0]["status"] == "paused"
    assert (await shell("train", "resume", job_id)).out == f"{job_id} queued\n"
    again = await shell("train", "resume", job_id)
    assert again.code == 1
    assert "only a paused job is resumed" in again.err
    assert (await shell("train", "cancel", job_id)).out == f"{job_id} cancelled\n"
    watched = await shell("train", "watch", job_id)
    assert watched.code == 1
    assert "step 1/4  loss 2.0000  3 s left\n" in watched.err
    assert watched.err.endswith("Cancelled.\nlorikeet: The job was cancelled.\n")
    told = (await shell("train", "events", job_id, "--limit", "3")).out.splitlines()
    assert len(told) == 3
    assert told[-1].endswith("Cancelled.")


async def test_a_job_of_wrong_data_says_why(shell: Shell, world: World, tmp_path: Path) -> None:
    data = tmp_path / "wrong.jsonl"
    data.write_text('{"messages": []}\n')
    job_id = (await shell("train", "submit", str(data), "-m", "budgie")).out.strip()
    await world.settle(world.supervision())
    watched = await shell("train", "watch", job_id)
    assert watched.code == 1
    assert watched.err.splitlines()[-1].startswith("lorikeet: The job failed: ")
