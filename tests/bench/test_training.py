"""What the training and start-up benchmarks read and print."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import startup, training
from bench.table import render

MACHINE = {"cpu": "c", "cores": 2, "memory_gib": 24}


def test_facts_are_distinct_and_repeatable() -> None:
    known = training.facts(3)
    assert known == training.facts(3) != training.facts(4)
    assert len({fact.question for fact in known}) == training.FACTS
    lines = training.chat_lines(known).decode().splitlines()
    assert [one["role"] for one in json.loads(lines[0])["messages"]] == ["user", "assistant"]


def test_steps_come_from_the_exact_times() -> None:
    wire = [
        {"type": "metrics", "created_at": 12, "data": {"step": 2, "at": 12.75}},
        {"type": "message", "created_at": 10, "data": None},
        {"type": "metrics", "created_at": 11, "data": {"step": 1, "at": 11.25}},
        {"type": "metrics", "created_at": 14, "data": {"epoch": 1}},
    ]
    assert training.steps([training.Event.read(one) for one in wire]) == ((1, 11.25), (2, 12.75))
    with pytest.raises(ValueError, match="no metrics"):
        training.steps([])


def test_the_key_is_not_printed() -> None:
    assert training.hidden(["--key", "secret", "-n", "2"]) == ["--key", "...", "-n", "2"]
    assert "secret" not in "".join(training.hidden(["--key=secret"]))


def test_tables(tmp_path: Path) -> None:
    made = {"date": "d", "command": "c", "machine": MACHINE, "versions": {"ray": "2"}}
    rounds = [
        training.Round(10 + one, 5, 2, 17 + one, 1, 20, "budgie:a").__dict__ for one in range(3)
    ]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"kind": "training", **made, "rounds": rounds}))
    assert "| submitted to first training step | 11.00 | 10.00 | 12.00 |" in render(path)
    assert "- The first training step that was told: 1, 1, 1." in render(path)

    noted = [{"part": "ray", "seconds": 4.0}, {"part": "total", "seconds": 9.5}]
    path.write_text(json.dumps(noted))
    assert startup.read(path) == (9.5, {"ray": 4.0})
    starts = [
        startup.Start(kind, 10, 9.5, {"ray": seconds}).__dict__
        for kind, seconds in (("cold", 4.0), ("second", 3.0))
    ]
    path.write_text(json.dumps({"kind": "startup", **made, "starts": starts}))
    assert "| ray | 4.00 [4.00 to 4.00] | 3.00 [3.00 to 3.00] |" in render(path)

    path.write_text("{}")
    with pytest.raises(ValueError, match="unknown kind"):
        render(path)


class Started:
    """A Lorikeet whose second start leaves the note of the first where it was, for a moment."""

    def __init__(self, home: Path, logs: Path) -> None:
        self.note = home / "run" / "startup.json"
        self.family = self

    def start(self) -> None:
        pass

    def await_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        assert not ready(), "the note of the start before is not taken for this one's"
        self.note.write_text('[{"part": "total", "seconds": 2.0}]')
        assert ready()

    def stop(self) -> None:
        self.note.with_name("stopped").touch()


def test_a_start_is_not_taken_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "Lorikeet", Started)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    note = tmp_path / "run" / "startup.json"
    note.parent.mkdir()
    note.write_text('[{"part": "total", "seconds": 1.0}]')
    assert startup.measure(tmp_path, tmp_path, "second").total == 2.0
    assert note.with_name("stopped").exists()
