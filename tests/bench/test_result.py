"""What becomes of a benchmark's result."""

import json
from pathlib import Path

import pytest
import typer

from bench.result import heading, recording


def test_it_is_written_once_it_is_whole(tmp_path: Path) -> None:
    with recording("startup", ["--rounds", "2"], tmp_path) as (result, folder):
        result["starts"] = [1]
        assert folder.is_dir()
        assert list(tmp_path.iterdir()) == []
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("startup-")
    assert json.loads(path.read_text()) == result
    assert result["command"] == "python -m bench.startup --rounds 2"
    assert not folder.exists()
    assert heading("Start-up", result)[2] == f"- Command: `{result['command']}`"


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt(), typer.Exit), (RuntimeError("x"), RuntimeError)]
)
def test_one_that_is_cut_off_leaves_its_logs(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    with pytest.raises(raised), recording("startup", [], tmp_path) as (_, folder):
        raise error
    assert list(tmp_path.iterdir()) == []
    folder.rmdir()
