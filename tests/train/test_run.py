"""The driver, up to where Ray begins."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.jobs.journal import Assignment, Superseded
from cluster.store.artifacts import Artifacts
from tests.train.doubles import ASSIGNMENT, FolderJournal, assignment
from train import run


def test_the_driver_starts_light() -> None:
    heavy = "{'torch', 'transformers', 'ray', 'pandas'} & set(sys.modules)"
    script = f"import sys, train.run; print(sorted({heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_superseded_attempt_ends_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(FolderJournal):
        def assignment(self) -> Assignment:
            raise Superseded

    asked, begun = [], []

    def journal(_settings: object, job_id: str, attempt: int) -> FolderJournal:
        asked.append((job_id, attempt))
        return Late(tmp_path, ASSIGNMENT)

    monkeypatch.setattr(run, "sql_journal", journal)
    monkeypatch.setattr(run, "run", begun.append)
    run.main(["--job", "ftjob-1", "--attempt", "2"])
    assert asked == [("ftjob-1", 2)]
    assert begun == []
    assert list(tmp_path.iterdir()) == [], "the journal is the newer attempt's"


def test_what_a_worker_s_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    on_cpu = run.worker_environment(assignment(cpus_per_worker=4))
    assert on_cpu["OMP_NUM_THREADS"] == "4"
    assert on_cpu["DS_ACCELERATOR"] == "cpu"
    assert on_cpu["HF_HUB_OFFLINE"] == "1"
    on_gpu = run.worker_environment(assignment(gpus_per_worker=1))
    assert "DS_ACCELERATOR" not in on_gpu
    assert "CUDA_VISIBLE_DEVICES" not in on_gpu  # Ray sets it
    assert on_gpu["OMP_NUM_THREADS"] == "1"


def test_checkpoints_go_to_the_artifact_store(tmp_path: Path) -> None:
    assert run.storage(Artifacts(tmp_path.as_uri()), "jobs/1") == {
        "storage_path": str(tmp_path / "jobs/1")
    }
    elsewhere = run.storage(Artifacts("memory://bucket"), "jobs/1")
    assert elsewhere["storage_path"].endswith("bucket/jobs/1")
    assert elsewhere["storage_filesystem"].type_name.startswith("py::fsspec")


def test_the_interface_of_an_address() -> None:
    from train.rendezvous import interface_of

    assert interface_of("127.0.0.1") in {name for _, name in socket.if_nameindex()}
    assert interface_of("203.0.113.7") is None
